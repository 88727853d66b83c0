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
    const at = new Date(element.dateTime);
    const text = ago(now - at);
    if (element.textContent !== text) element.textContent = text;
    element.title ||= at.toLocaleString();
  }
}
