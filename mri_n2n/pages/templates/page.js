"use strict";
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  for (const example of all(".example")) {
    const stage = example.querySelector(".stage");
    const range = stage.querySelector("input");
    const label = stage.querySelector("label");
    const sides = all("select", example);
    const figures = all("figure[data-name]", example);
    const move = () => {
      stage.style.setProperty("--split", `${range.value}%`);
      range.setAttribute("aria-valuetext", `${range.value} % ${stage.dataset.before}`);
    };
    const choose = () => {
      for (const side of sides) {
        const figure = figures.find((own) => own.dataset.name === side.value);
        const shown = stage.querySelector(`img.${side.dataset.side}`);
        const picture = figure.querySelector("img");
        [shown.src, shown.alt] = [picture.src, picture.alt];
        side.parentElement.querySelector(".range").textContent = figure.dataset.quality;
      }
      const [before, after] = sides.map((side) => side.value);
      label.textContent = `How much of the picture shows ${before}, from the left; the rest shows ${after}`;
      stage.dataset.before = before;
      move();
    };
    range.addEventListener("input", move);
    for (const side of sides) {
      side.addEventListener("change", choose);
      side.addEventListener("input", choose);
    }
    move();
  }

  for (const volume of all(".volume-of-slices")) {
    const { slices, pictures } = JSON.parse(volume.querySelector("script").textContent);
    const range = volume.querySelector("input");
    const said = volume.querySelector("output");
    const images = all(".volume.screen-only img", volume);
    const show = () => {
      const place = Number(range.value);
      images.forEach((image, number) => {
        image.src = pictures[number][place];
        image.alt = `${image.dataset.method}, slice ${slices[place]}`;
      });
      said.textContent = `slice ${slices[place]}`;
      range.setAttribute("aria-valuetext", said.textContent);
    };
    range.addEventListener("input", show);
    show();
  }

  // A page that refreshes itself stays where its reader left it.
  const key = `mri-n2n ${location.pathname}`;
  const inputs = all("input, select");
  const folds = all("details");
  try {
    const state = JSON.parse(sessionStorage.getItem(key));
    if (document.querySelector("meta[http-equiv=refresh]") && state && state.values.length === inputs.length) {
      inputs.forEach((input, place) => {
        input.value = state.values[place];
        input.dispatchEvent(new Event("input"));
      });
      folds.forEach((fold, place) => { fold.open = state.open[place]; });
      scrollTo(0, state.top);
      if (state.focused >= 0) inputs[state.focused].focus({ preventScroll: true });
    }
  } catch { /* a browser may keep nothing */ }
  addEventListener("pagehide", () => {
    const values = inputs.map((input) => input.value);
    const open = folds.map((fold) => fold.open);
    const focused = inputs.indexOf(document.activeElement);
    try {
      sessionStorage.setItem(key, JSON.stringify({ values, open, focused, top: scrollY }));
    } catch { /* the same */ }
  });
  addEventListener("beforeprint", () => folds.forEach((fold) => { fold.open = true; }));
})();
