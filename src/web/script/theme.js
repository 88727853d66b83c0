// Light, dark, or what the system says. Runs before the first paint, so that nothing flashes.
(() => {
  const root = document.documentElement;
  const names = ["system", "light", "dark"];
  const set = (name) => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
  };
  let name = localStorage.theme ?? "system";
  set(name);
  const dense = () => root.toggleAttribute("data-dense", !!localStorage.dense);
  dense();
  addEventListener("click", (event) => {
    if (event.target.closest?.("[data-dense-next]")) {
      localStorage.dense = localStorage.dense ? "" : 1;
      dense();
    }
    const button = event.target.closest?.("[data-theme-next]");
    if (!button) return;
    name = names[(names.indexOf(name) + 1) % names.length];
    set(name);
    button.dataset.tip = `Theme: ${name}`;
    localStorage.theme = name;
  });
})();
