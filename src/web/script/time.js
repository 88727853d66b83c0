// "12 s ago", counted on without the server. The first render has the same steps.
export function ago(ms) {
  const s = Math.max(0, Math.floor(ms / 1_000));
  if (s < 5) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3_600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

export function tick(now = Date.now()) {
  for (const element of [...document.getElementsByTagName("time")]) {
    // Read once: with a thousand of them a second has better to do.
    const { dateTime, firstChild } = element;
    if (element.of !== dateTime) element.at = new Date((element.of = dateTime));
    element.title ||= element.at.toLocaleString();
    const text = "left" in element.dataset ? ago(element.at - now).replace("ago", "left") : ago(now - element.at);
    // The text is changed, not put anew: nothing looks for what a new node may match.
    if (firstChild.data !== text) firstChild.data = text;
  }
}
