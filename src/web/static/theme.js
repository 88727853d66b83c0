// Light, dark, or what the system says. Runs before the first paint, so that nothing flashes.
(() => {
  const root = document.documentElement;
  const names = ["system", "light", "dark"];
  const set = (name) => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
  };
  let name = "system";
  try {
    name = localStorage.getItem("theme") || name;
  } catch {
    // Storage can be switched off; then the system's choice stands.
  }
  set(name);
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-next]");
    if (!button) return;
    name = names[(names.indexOf(name) + 1) % names.length];
    set(name);
    button.dataset.tip = `Theme: ${name}`;
    try {
      localStorage.setItem("theme", name);
    } catch {
      // It holds until the page is left.
    }
  });
})();
