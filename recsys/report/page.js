"use strict";

// Charts: each is drawn once. A choice changes its parameters; a theme changes the CSS variables of its colours.
(() => {
  const { config, charts } = JSON.parse(document.getElementById("charts").textContent);
  // The expression interpreter needs no eval, which the content security policy forbids.
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, config };
  const views = new Map();

  const parameters = (name) => new Map((charts[name].params ?? []).map((parameter) => [parameter.name, parameter.value]));

  const limit = (panel) => {
    const n = panel.querySelector('select[data-choice="n"]');
    if (!n) return;
    const metric = panel.querySelector('select[data-choice="metric"]').selectedOptions[0];
    const allowed = metric.dataset.limit?.split(" ");
    for (const option of n.options) option.disabled = allowed ? !allowed.includes(option.value) : false;
    if (n.selectedOptions[0].disabled) n.value = allowed[0];
  };

  const follow = (panel) => {
    limit(panel);
    const chosen = new Map([...panel.querySelectorAll("select[data-choice]")].map((select) => [select.dataset.choice, select.value]));
    for (const container of panel.querySelectorAll("[data-chart]")) {
      const view = views.get(container.dataset.chart);
      if (!view) continue;
      for (const [name, first] of parameters(container.dataset.chart)) {
        if (!chosen.has(name)) continue;
        const value = chosen.get(name);
        view.signal(name, typeof first === "number" ? Number(value) : value);
      }
      view.runAsync();
    }
    for (const row of panel.querySelectorAll("tbody tr")) {
      row.hidden = [...chosen].some(([name, value]) => row.dataset[name] !== undefined && row.dataset[name] !== value);
    }
  };

  const draw = async () => {
    for (const container of document.querySelectorAll("[data-chart]")) {
      const name = container.dataset.chart;
      try {
        views.set(name, (await window.vegaEmbed(container, charts[name], options)).view);
      } catch (error) {
        container.textContent = "This chart could not be drawn; its numbers are in the table.";
        console.error(`chart ${name}`, error);
      }
    }
    for (const panel of document.querySelectorAll(".panel")) {
      if (!panel.querySelector("select[data-choice]")) continue;
      panel.addEventListener("change", () => follow(panel));
    }
    document.documentElement.dataset.drawn = String(views.size);
  };
  draw();
})();

// Tables that are wider than their boxes are marked, so that a reader knows to scroll.
const markWide = (() => {
  const mark = (box) => {
    box.style.setProperty("--box", `${box.clientWidth}px`);
    box.toggleAttribute("data-wide", box.scrollWidth > box.clientWidth + 1);
  };
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
  return (boxes) => boxes.forEach((box) => observer.observe(box));
})();
markWide(document.querySelectorAll(".scroll"));

