// Sorting, filtering and the frontier. Everything is on the page without it.
document.documentElement.classList.add("js");
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
  document.querySelectorAll(".tools").forEach(filterable);
  document.querySelectorAll("[data-formula]").forEach(frontier);
});

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== (head.dataset.sort === "number" ? "descending" : "ascending");
      const ascending = head.dataset.sort === "number" ? !up : up;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => compare(key(a), key(b), head.dataset.sort, ascending));
      table.tBodies[0].append(...rows);
    });
  });
}

// Missing values go last, whichever way the column is sorted.
function compare(a, b, kind, ascending) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = kind === "number" ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
  return ascending ? order : -order;
}

function filterable(form) {
  const section = form.closest("section");
  const rows = [...section.querySelectorAll("tbody tr")];
  const words = new Map(rows.map((row) => [row, searched(row)]));
  const apply = () => {
    const text = form.querySelector('[data-filter="text"]').value.trim().toLowerCase();
    const verdict = form.querySelector('[data-filter="verdict"]').value;
    rows.forEach((row) => {
      row.hidden = !words.get(row).includes(text) || (verdict !== "" && row.dataset.verdict !== verdict);
    });
    form.querySelector("[data-shown]").textContent = `${rows.filter((row) => !row.hidden).length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

function searched(row) {
  const keys = [...row.querySelectorAll("[data-key]")].map((cell) => cell.dataset.key);
  return [row.cells[0].textContent, row.cells[2].textContent, ...keys.slice(0, 2)].join(" ").toLowerCase();
}

function frontier(section) {
  const rows = [...section.querySelectorAll("tr[data-row]")];
  const dots = [...section.querySelectorAll("g[data-row]")];
  const display = section.querySelector("[data-display]");
  const note = section.querySelector("[data-chosen-note]");
  const latex = section.querySelector("[data-latex-shown]");
  const lead = display.firstElementChild;
  const mark = (name, number) => [...rows, ...dots].forEach((at) => at.classList.toggle(name, at.dataset.row === number));
  const show = (row) => {
    mark("shown", row.dataset.row);
    const shown = row.querySelector(".maths").firstElementChild.cloneNode(true);
    shown.querySelectorAll("math").forEach((math) => math.setAttribute("displaystyle", "true"));
    display.replaceChildren(lead, " ", shown);
    latex.textContent = row.dataset.latex;
    rows.forEach((other) => other.querySelector("button")?.setAttribute("aria-pressed", String(other === row)));
    note.hidden = row.classList.contains("chosen");
    note.textContent = `You are looking at the row of size ${row.cells[0].textContent}, misalignment ${row.cells[2].textContent}; it is not the chosen one.`;
  };
  rows.forEach((row) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = row.cells[0].textContent;
    button.setAttribute("aria-label", `Show the formula of size ${row.cells[0].textContent}`);
    row.cells[0].replaceChildren(button);
    row.addEventListener("click", () => show(row));
    row.addEventListener("mouseenter", () => mark("hover", row.dataset.row));
    row.addEventListener("mouseleave", () => mark("hover", ""));
  });
  dots.forEach((dot) => {
    dot.addEventListener("click", () => show(rows[Number(dot.dataset.row)]));
    dot.addEventListener("mouseenter", () => mark("hover", dot.dataset.row));
    dot.addEventListener("mouseleave", () => mark("hover", ""));
  });
  const chosen = rows.find((row) => row.classList.contains("chosen"));
  if (chosen) mark("shown", chosen.dataset.row);
}
