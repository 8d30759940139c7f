// One set of figures at a time: that of all collections, or of the one that is chosen.
(() => {
  const sections = [...document.querySelectorAll("section.scope")];
  const buttons = [...document.querySelectorAll("#scopes button")];

  const show = (scope) => {
    for (const section of sections) section.hidden = section.dataset.scope !== scope;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.scope === scope));
  };

  document.documentElement.classList.add("scripted");
  for (const button of buttons) button.addEventListener("click", () => show(button.dataset.scope));
  show("0");
})();
