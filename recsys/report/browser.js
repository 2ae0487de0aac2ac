// Users and items. Texts of the catalogue are inserted as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("browser").textContent);
  const byId = (name) => document.getElementById(name);
  const people = byId("people");
  const person = byId("person");
  const fold = (text) => text.normalize("NFKC").toLocaleLowerCase();
  const titles = data.titles.map(fold);
  const itemIds = data.ids.map(fold);
  const ids = data.users.map((user) => fold(user.id));
  const inUser = data.users.map(
    (user) => new Set([...[...user.history, ...user.list, ...user.held].map((row) => row[0]), ...user.compared.flat()]),
  );
  // Items with a page of their own, the most shown first.
  const pages = Object.keys(data.details).map(Number).sort((a, b) => data.details[b][4] - data.details[a][4] || a - b);
  const mostListed = 100;
  let matched = new Set();
  let current = data.start;

  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };

  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const day = (number) => (number === null ? "" : new Date(number * 86400000).toISOString().slice(0, 10));

  // A title: a button where the item has a page.
  const name = (item) => {
    const text = matched.has(item) ? make("mark", data.titles[item]) : document.createTextNode(data.titles[item]);
    if (!(item in data.details)) return text;
    const button = make("button", undefined, { type: "button", class: "item-link", "data-item": String(item) });
    button.append(text);
    return button;
  };

  const titleCell = (tag, item) => {
    const cell = make(tag, undefined, { class: "title", dir: "auto" });
    if (tag === "th") cell.scope = "row";
    cell.append(name(item));
    return cell;
  };

  // Columns: [head, class, row => cell text]; a column without a function is the title, which names the row.
  const table = (caption, columns, rows) => {
    const box = make("div", undefined, { class: "scroll", role: "region", tabindex: "0", "aria-label": caption });
    const made = make("table");
    made.append(make("caption", caption));
    const head = make("tr");
    for (const [label, kind] of columns) head.append(make("th", label, { scope: "col", class: kind }));
    made.append(make("thead"));
    made.tHead.append(head);
    const body = make("tbody");
    rows.forEach((row, number) => {
      const line = make("tr");
      for (const [, kind, write] of columns) {
        const text = write?.(row, number);
        if (text instanceof Element) line.append(text);
        else line.append(write ? make("td", text, { class: kind, dir: "auto" }) : titleCell("th", row[0]));
      }
      body.append(line);
    });
    made.append(body);
    box.append(made);
    markWide([box]);
    return box;
  };

  // The lists of several models side by side, with what the user chose in the test window marked.
  const compare = (user) => {
    const taken = new Set(user.held.map((row) => row[0]));
    const longest = Math.max(...user.compared.map((list) => list.length));
    const rank = ["rank", "number", (number) => make("th", String(number + 1), { class: "number", scope: "row" })];
    const columns = data.models.map((model, place) => [
      model,
      "",
      (number) => {
        const item = user.compared[place][number];
        const hit = taken.has(item);
        const cell = make("td", undefined, { dir: "auto", class: hit ? "hit" : "" });
        if (item !== undefined) cell.append(name(item));
        // Inside the button, so that the mark and the title share a line.
        if (hit) (cell.firstElementChild ?? cell).prepend("✓ ");
        return cell;
      },
    ]);
    const caption = `What each model listed before the test window (${data.window}); ✓: the user chose it then`;
    const box = table(caption, [rank, ...columns], [...Array(longest).keys()]);
    box.classList.add("compared");
    return box;
  };

  const show = (index) => {
    current = index;
    const user = data.users[index];
    const title = make("h3", "User ", { id: "person-title" });
    title.append(make("bdi", user.id));
    const list = [["item", ""], ["rank", "number", (row, number) => String(number + 1)]];
    if (data.reasons.length) list.push(["reason", "reason", (row) => (row[3] === null ? "" : data.reasons[row[3]])]);
    list.push(["score", "number score", (row) => row[1].toFixed(2)]);
    if (data.sources.length) list.push(["proposed by", "sources", (row) => row[2].map((source) => data.sources[source].replaceAll("_", " ")).join(", ")]);
    const parts = [title, table("Recommended", list, user.list)];
    if (user.compared.length) parts.push(compare(user));
    if (user.held.length) {
      const held = [["item", ""], ["outcome", "", (row) => data.outcomes[row[1]]]];
      held.push(["rank among our candidates", "number", (row) => (row[2] === null ? "–" : String(row[2]))]);
      parts.push(table("What the user chose in the test window", held, user.held));
    }
    const history = [["item", ""]];
    if (user.history.some((row) => row[1] !== null)) history.push(["last interaction", "number", (row) => day(row[1])]);
    const shown = user.history.length < user.size ? `, the newest ${user.history.length} of ${user.size.toLocaleString("en")} items` : "";
    parts.push(table(`History, newest first${shown}`, history, user.history));
    person.replaceChildren(...parts);
    select(people, "user", index);
  };

  const select = (list, kind, index) => {
    for (const button of list.querySelectorAll("button")) {
      const here = Number(button.dataset[kind]) === index;
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      button.tabIndex = here ? 0 : -1;
    }
  };

  const pick = (kind, index, text, size) => {
    const line = make("li");
    const button = make("button", undefined, { type: "button", [`data-${kind}`]: String(index) });
    button.append(make("bdi", text), make("span", size, { class: "size" }));
    line.append(button);
    return line;
  };

  const list = () => {
    const query = fold(byId("find").value.trim());
    matched = new Set(query ? titles.flatMap((title, item) => (title.includes(query) ? [item] : [])) : []);
    const hits = data.users.flatMap((user, index) =>
      !query || ids[index].includes(query) || [...inUser[index]].some((item) => matched.has(item)) ? [index] : [],
    );
    people.replaceChildren(...hits.map((index) => pick("user", index, data.users[index].id, plural(data.users[index].size, "item"))));
    byId("matches").textContent = query ? `${plural(hits.length, "user")} of ${data.users.length.toLocaleString("en")} found` : "";
    people.hidden = hits.length === 0;
    if (hits.length) show(hits.includes(current) ? current : hits[0]);
    else person.replaceChildren(make("h3", "No user found", { id: "person-title" }));
  };

  const showItem = (item) => {
    const [description, tags, facts, users, lists] = data.details[item];
    const title = make("h3", data.titles[item], { id: "item-title", dir: "auto" });
    const parts = [title, make("p", description || "No description.", { class: "description", dir: "auto" })];
    const about = make("dl", undefined, { class: "facts" });
    const known = [["id", data.ids[item]], ...facts, ...(tags.length ? [["tags", tags.join(", ")]] : [])];
    for (const [label, text] of [...known, ["users so far", users.toLocaleString("en")], ["in lists", lists.toLocaleString("en")]]) {
      const pair = make("div");
      pair.append(make("dt", label), make("dd", text, { dir: "auto" }));
      about.append(pair);
    }
    parts.push(about);
    const near = data.near[item] ?? [];
    if (near.length) parts.push(table("Items with the most similar texts", [["item", ""], ["cosine", "number", (row) => row[1].toFixed(2)]], near));
    byId("item").replaceChildren(...parts);
    select(byId("item-list"), "item", item);
  };

  const listItems = () => {
    const query = fold(byId("find-item").value.trim());
    const hits = pages.filter((item) => !query || titles[item].includes(query) || itemIds[item].includes(query));
    const first = hits.slice(0, mostListed);
    byId("item-list").replaceChildren(...first.map((item) => pick("item", item, data.titles[item], plural(data.details[item][4], "list"))));
    const cut = hits.length > first.length ? `; the ${first.length} in most lists are shown` : "";
    byId("item-matches").textContent = query || cut ? `${plural(hits.length, "item")}${query ? " found" : ""}${cut}` : "";
    byId("item-list").hidden = hits.length === 0;
    if (hits.length) showItem(hits[0]);
    else byId("item").replaceChildren(make("h3", "No item found", { id: "item-title" }));
  };

  // The tab key stops once at a list; arrow keys move inside it.
  const walk = (list, kind, open) => {
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) open(Number(button.dataset[kind]));
    });
    list.addEventListener("keydown", (event) => {
      const buttons = [...list.querySelectorAll("button")];
      const here = buttons.indexOf(document.activeElement);
      const target = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (target === undefined || !buttons[target]) return;
      event.preventDefault();
      buttons[target].focus();
      open(Number(buttons[target].dataset[kind]));
    });
  };

  walk(people, "user", show);
  walk(byId("item-list"), "item", showItem);
  for (const place of [person, byId("item")]) {
    place.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-item]");
      if (!button) return;
      byId("find-item").value = "";
      listItems();
      showItem(Number(button.dataset.item));
      byId("items").scrollIntoView();
      byId("find-item").focus({ preventScroll: true });
    });
  }
  byId("find").addEventListener("input", list);
  byId("find-item").addEventListener("input", listItems);
  list();
  listItems();
})();
