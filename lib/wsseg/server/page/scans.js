/** The list of scans, and how much of each is labelled. */

const $ = (id) => document.getElementById(id);

export class Scans {
  /** @param {(id: string) => void} open */
  constructor(open) {
    this.open = open;
    this.scans = [];
    this.current = null;
    const list = $("scans");
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item && !item.ariaDisabled) open(item.dataset.id);
    });
    list.addEventListener("keydown", (event) => this.key(event));
    $("filter").addEventListener("input", () => this.draw());
  }

  show(scans) {
    this.scans = scans;
    this.draw();
  }

  /** Mark which scan is on screen. */
  choose(id) {
    this.current = id;
    this.draw();
    $("scans").querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  /** Count a scan's labelled slices anew. */
  count(id, labelled) {
    const scan = this.scans.find((known) => known.id === id);
    if (!scan || scan.labelled === labelled) return;
    scan.labelled = labelled;
    const item = [...$("scans").children].find((other) => other.dataset.id === id);
    item?.replaceWith(this.item(scan));
    this.sum();
  }

  /** The id of the scan so many places further, in the list as it is filtered, of those that can be labelled. */
  beside(step) {
    const shown = this.shown.filter(({ id, refusal }) => !refusal || id === this.current);
    const at = shown.findIndex((scan) => scan.id === this.current);
    return shown[at + step]?.id;
  }

  get shown() {
    const wanted = $("filter").value.trim().toLowerCase();
    return this.scans.filter(({ id, title }) => `${title}\n${id}`.toLowerCase().includes(wanted));
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const id = this.beside(step);
    if (id !== undefined) this.open(id);
  }

  draw() {
    $("scans").replaceChildren(...this.shown.map((scan) => this.item(scan)));
    this.sum();
  }

  sum() {
    const begun = this.scans.filter(({ labelled, drawings, scribbles, text }) => labelled || drawings || scribbles || text).length;
    $("scans-total").textContent = `${begun} of ${this.scans.length} begun`;
  }

  item(scan) {
    const item = document.createElement("li");
    item.dataset.id = scan.id;
    item.id = `scan-${scan.id}`;
    item.setAttribute("role", "option");
    item.ariaSelected = String(scan.id === this.current);
    if (scan.refusal) item.ariaDisabled = "true";
    if (scan.id === this.current) $("scans").setAttribute("aria-activedescendant", item.id);
    const [name, count, bar] = ["span", "small", "i"].map((kind) => document.createElement(kind));
    name.textContent = scan.title;
    name.title = scan.refusal ?? scan.id;
    const extras = [scan.refusal && "cannot be labelled", scan.replaced && "another scan", scan.scribbles && "scribbles", scan.drawings && `${scan.drawings} drawn`, scan.text && "text"].filter(Boolean);
    const of = scan.slices === null ? scan.labelled : `${scan.labelled} / ${scan.slices}`;
    count.textContent = [...extras, of].filter(Boolean).join(" · ");
    bar.style.transform = `scaleX(${scan.slices ? scan.labelled / scan.slices : 0})`;
    item.append(name, count, bar);
    return item;
  }
}
