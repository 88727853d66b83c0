// Light, dark, or what the system says; closer rows; single keys. Runs before the first paint, so that nothing flashes.
// `data-flip` names what is kept, `data-to` the values that it takes in turn; the empty one takes it away.
(() => {
  const { dataset } = document.documentElement;
  const put = (it, to) => (to ? (dataset[it] = to) : delete dataset[it]);
  for (const it of ["theme", "dense", "keyless"]) put(it, localStorage[it]);
  addEventListener("click", (event) => {
    const { flip, to } = event.target.closest?.("[data-flip]")?.dataset ?? {};
    const all = to?.split(" ");
    if (flip) put(flip, (localStorage[flip] = all[all.indexOf(dataset[flip]) + 1]));
  });
  // Who wants it so: keys of one sign alone are for typing only.
  addEventListener(
    "keydown",
    (event) => dataset.keyless && !event.key?.[1] && !event.ctrlKey && !event.metaKey && event.stopImmediatePropagation(),
    true,
  );
})();
