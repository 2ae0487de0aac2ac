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

// The user browser. Texts of the catalogue are inserted as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("browser").textContent);
  const people = document.getElementById("people");
  const person = document.getElementById("person");
  const matches = document.getElementById("matches");
  const input = document.getElementById("find");
  const fold = (text) => text.normalize("NFKC").toLocaleLowerCase();
  const titles = data.titles.map(fold);
  const ids = data.users.map((user) => fold(user.id));
  const inUser = data.users.map((user) => new Set([...user.history, ...user.list, ...user.held].map((row) => row[0])));
  let matched = new Set();
  let current = 0;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const day = (number) => (number === null ? "" : new Date(number * 86400000).toISOString().slice(0, 10));

  const titleCell = (tag, item) => {
    const cell = make(tag, undefined, { class: "title", dir: "auto" });
    if (tag === "th") cell.scope = "row";
    cell.append(matched.has(item) ? make("mark", data.titles[item]) : data.titles[item]);
    return cell;
  };

  // Columns: [head, class, row => cell text]; a column without a function is the title, which names the row.
  const table = (caption, columns, rows) => {
    const box = make("div", undefined, { class: "scroll", role: "region", tabindex: "0", "aria-label": caption });
    const made = make("table");
    made.append(make("caption", caption));
    const head = make("tr");
    for (const [name, kind] of columns) head.append(make("th", name, { scope: "col", class: kind }));
    made.append(make("thead"));
    made.tHead.append(head);
    const body = make("tbody");
    rows.forEach((row, number) => {
      const line = make("tr");
      for (const [, kind, write] of columns) {
        line.append(write ? make("td", write(row, number), { class: kind, dir: "auto" }) : titleCell("th", row[0]));
      }
      body.append(line);
    });
    made.append(body);
    box.append(made);
    return box;
  };

  const show = (index) => {
    current = index;
    const user = data.users[index];
    const title = make("h3", "User ", { id: "person-title" });
    title.append(make("bdi", user.id));
    const list = [["rank", "number", (row, number) => String(number + 1)], ["item", ""], ["score", "number", (row) => row[1].toFixed(4)]];
    if (data.sources.length) list.push(["proposed by", "", (row) => row[2].map((source) => data.sources[source]).join(", ")]);
    if (data.reasons.length) list.push(["reason", "", (row) => (row[3] === null ? "" : data.reasons[row[3]])]);
    const parts = [title, table("Recommended", list, user.list)];
    if (user.held.length) {
      const held = [["item", ""], ["outcome", "", (row) => data.outcomes[row[1]]]];
      held.push(["rank among our candidates", "number", (row) => (row[2] === null ? "–" : String(row[2]))]);
      parts.push(table("Test positives", held, user.held));
    }
    const history = [["item", ""]];
    if (user.history.some((row) => row[1] !== null)) history.push(["last interaction", "number", (row) => day(row[1])]);
    const shown = user.history.length < user.size ? `, the newest ${user.history.length} of ${user.size.toLocaleString("en")} items` : "";
    parts.push(table(`History, newest first${shown}`, history, user.history));
    person.replaceChildren(...parts);
    for (const button of people.querySelectorAll("button")) {
      const here = Number(button.dataset.user) === index;
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      button.tabIndex = here ? 0 : -1;
    }
  };

  const list = () => {
    const query = fold(input.value.trim());
    matched = new Set(query ? titles.flatMap((title, item) => (title.includes(query) ? [item] : [])) : []);
    const hits = data.users.flatMap((user, index) =>
      !query || ids[index].includes(query) || [...inUser[index]].some((item) => matched.has(item)) ? [index] : [],
    );
    people.replaceChildren(
      ...hits.map((index) => {
        const line = make("li");
        const button = make("button", undefined, { type: "button", "data-user": String(index) });
        button.append(make("bdi", data.users[index].id), make("span", plural(data.users[index].size, "item"), { class: "size" }));
        line.append(button);
        return line;
      }),
    );
    matches.textContent = query ? `${plural(hits.length, "user")} of ${data.users.length.toLocaleString("en")} found` : "";
    people.hidden = hits.length === 0;
    if (hits.length) show(hits.includes(current) ? current : hits[0]);
    else person.replaceChildren(make("h3", "No user found", { id: "person-title" }));
  };

  people.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(Number(button.dataset.user));
  });
  // The tab key stops once at the list; arrow keys move inside it.
  people.addEventListener("keydown", (event) => {
    const buttons = [...people.querySelectorAll("button")];
    const here = buttons.indexOf(document.activeElement);
    const target = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (target === undefined || !buttons[target]) return;
    event.preventDefault();
    buttons[target].focus();
    show(Number(buttons[target].dataset.user));
  });
  input.addEventListener("input", list);
  list();
})();
