/** The page of campaigns: chosen by its address's #number, renewed while one goes on. */

import { drawVolumes } from "./volumes.js";

const AGAIN_MS = 5000;

const at = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");

/** Pictures that are there already, by series: each is asked for once. */
const pictures = new Map();

async function ask(path) {
  const reply = await fetch(path, { cache: "no-store" });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.detail);
  return answer;
}

async function renew() {
  try {
    const campaigns = await ask("api/campaigns");
    at("none").hidden = campaigns.length > 0;
    for (const part of document.querySelectorAll("main, header label")) part.hidden = !campaigns.length;
    if (campaigns.length) {
      list(campaigns);
      show(await ask(`api/campaigns/${at("campaign").value}`));
    }
    at("problem").textContent = "";
  } catch (error) {
    at("problem").textContent = `Not up to date: ${error.message}`;
  }
}

function list(campaigns) {
  const wanted = location.hash.slice(1) || String(campaigns[0].id);
  at("campaign").replaceChildren(
    ...campaigns.map(({ id, campaign }) => new Option(`${campaign.model} ${campaign.version} · ${campaign.archive}`, id)),
  );
  at("campaign").value = wanted;
  if (!at("campaign").value) at("campaign").value = String(campaigns[0].id);
}

function show(found) {
  const { counts, campaign, lately } = found;
  const total = counts.waiting + counts.claimed + counts.done + counts.failed;
  const part = (count) => (100 * count) / Math.max(total, 1);
  const failed = counts.failed ? `, ${number.format(counts.failed)} failed` : "";
  at("counts").textContent = `${number.format(counts.done)} of ${number.format(total)} series segmented${failed}`;
  at("bar").setAttribute("aria-valuenow", String(Math.round(part(counts.done + counts.failed))));
  at("bar").querySelector(".done").style.width = `${part(counts.done)}%`;
  at("bar").querySelector(".failed").style.width = `${part(counts.failed)}%`;
  at("pace").textContent = pace(counts, lately);
  at("places").textContent =
    campaign.destination === campaign.archive ? campaign.archive : `${campaign.archive} → ${campaign.destination}`;
  drawVolumes(at("volumes"), found.volumes);
  at("worst").replaceChildren(...found.worst.map((each) => card(each, campaign, found.served)));
  at("failures").replaceChildren(...failures(found.failures));
}

function pace(counts, lately) {
  const open = counts.waiting + counts.claimed;
  if (!open) return "Nothing is left to be done.";
  if (!lately) return `${number.format(open)} left; none was done within the last hour.`;
  const hours = open / lately;
  const left = hours < 1 ? `${Math.ceil(60 * hours)} minutes` : `${hours.toFixed(1)} hours`;
  return `${number.format(lately)} in the last hour; at that pace ${number.format(open)} more take ${left}.`;
}

function card({ uid, quality, sizes }, { model }, served) {
  const item = document.createElement("li");
  if (served) item.append(picture(uid, model));
  const sure = document.createElement("b");
  sure.textContent = `${Math.round(100 * quality)} %`;
  const much = document.createElement("small");
  much.textContent = Object.entries(sizes).map(([name, ml]) => `${name} ${ml.toPrecision(3)} ml`).join(", ");
  const which = document.createElement("small");
  which.textContent = `…${uid.slice(-12)}`;
  which.title = uid;
  item.append(sure, much, which);
  return item;
}

/** The middle slice, cut out of the picture of all slices. */
function picture(uid, model) {
  if (pictures.has(uid)) return pictures.get(uid);
  const link = document.createElement("a");
  link.className = "picture";
  link.href = `/annotate/#scan=${encodeURIComponent(uid)}&model=${encodeURIComponent(model)}`;
  link.setAttribute("aria-label", `Open series ${uid}`);
  pictures.set(uid, link);
  const scan = `/annotate/api/scans/${encodeURIComponent(uid)}`;
  ask(`${scan}/layout?model=${encodeURIComponent(model)}`).then(
    ({ slices, sprite }) => {
      const rows = Math.ceil(slices / sprite.columns);
      const middle = Math.floor(slices / 2);
      const [column, row] = [middle % sprite.columns, Math.floor(middle / sprite.columns)];
      const percent = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
      link.style.aspectRatio = `${sprite.width} / ${sprite.height}`;
      link.style.backgroundImage = `url("${scan}/sprite?model=${encodeURIComponent(model)}")`;
      link.style.backgroundSize = `${100 * sprite.columns}% ${100 * rows}%`;
      link.style.backgroundPosition = `${percent(column, sprite.columns)}% ${percent(row, rows)}%`;
    },
    () => pictures.delete(uid), // asked for again with the next renewal
  );
  return link;
}

function failures(found) {
  if (!found.length) return [row("0", "Nothing failed.", "")];
  return found.map(({ count, reason, example }) => row(number.format(count), reason, example));
}

function row(...texts) {
  const made = document.createElement("tr");
  for (const text of texts) made.insertCell().textContent = text;
  return made;
}

at("campaign").addEventListener("change", () => {
  location.hash = at("campaign").value;
});
addEventListener("hashchange", renew);
renew();
setInterval(() => document.hidden || renew(), AGAIN_MS);
