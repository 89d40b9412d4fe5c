// The report's behaviour: charts, the map's choice, the dictionary's search. Without it every value still stands in a table.
"use strict";
document.documentElement.classList.add("scripted");

const COLOURS = ["#0b5c8a", "#b25000", "#3f7d20", "#7a3e9d", "#8a6d00", "#5c5c5c"];
const TEXT = { color: "#1b1b1b", fontFamily: "system-ui, Segoe UI, Roboto, Arial, sans-serif", fontSize: 13 };
const STATUSES = { suppressed: "secret statistique", PS: "peu significatif", NR: "non reçu", NC: "dénominateur nul", ND: "indisponible" };
const numbers = new Intl.NumberFormat("fr-FR", { maximumFractionDigits: 1 });
const shares = new Intl.NumberFormat("fr-FR", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const bare = (value, unit) => (unit === "%" ? shares : numbers).format(value);
const written = (value, unit) => value === null || value === undefined ? "–" : bare(value, unit) + (unit ? "\u00a0" + unit : "");
const shortened = (text, length) => text.length > length ? text.slice(0, length - 1) + "…" : text;

function bars(place) {
  const told = JSON.parse(place.dataset.bars);
  const narrow = place.clientWidth < 480;
  const rows = told.bars.slice().reverse();
  place.style.height = (narrow ? 48 : 34) * rows.length + 16 + "px";
  return {
    grid: { left: 4, right: 120, top: 4, bottom: 4, containLabel: true },
    xAxis: { type: "value", show: false },
    yAxis: { type: "category", data: rows.map((row) => row.name), axisTick: { show: false }, axisLine: { show: false },
      axisLabel: { ...TEXT, interval: 0, width: narrow ? 130 : 250, overflow: "break", lineHeight: 14 } },
    series: [{ type: "bar", data: rows.map((row) => row.value ?? 0), itemStyle: { color: COLOURS[0] }, barMaxWidth: 22,
      label: { show: true, position: "right", ...TEXT,
        formatter: (one) => rows[one.dataIndex].value === null ? STATUSES[rows[one.dataIndex].status] || "" : bare(rows[one.dataIndex].value, told.unit) } }],
  };
}

function lines(place) {
  const told = JSON.parse(place.dataset.lines);
  place.style.height = "230px";
  return {
    color: COLOURS,
    grid: { left: 4, right: 20, top: 16, bottom: 4, containLabel: true },
    tooltip: { trigger: "axis", renderMode: "richText", confine: true, textStyle: { fontSize: 13 },
      formatter: (points) => points[0].axisValue + points.map((one) => "\n" + written(one.value, told.unit) + "  " + shortened(one.seriesName, 40)).join("") },
    xAxis: { type: "category", data: told.months, axisLabel: { ...TEXT, hideOverlap: true }, axisTick: { alignWithLabel: true } },
    yAxis: { type: "value", scale: false, axisLabel: { ...TEXT, formatter: (value) => numbers.format(value) }, splitNumber: 4 },
    series: told.lines.map((line, rank) => ({ type: "line", name: line.name, data: line.values, connectNulls: false,
      symbol: ["circle", "rect", "triangle", "diamond", "emptyCircle", "emptyRect"][rank], symbolSize: 8 })),
  };
}

function draw(place) {
  const option = place.dataset.bars ? bars(place) : lines(place);
  const chart = echarts.getInstanceByDom(place) || echarts.init(place, null, { renderer: "canvas" });
  chart.setOption({ animation: false, ...option }, true);
  chart.resize();
}

const plots = document.querySelectorAll(".plot");
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }
}, { rootMargin: "400px" });
plots.forEach((place) => seen.observe(place));
const drawn = () => [...plots].filter((place) => echarts.getInstanceByDom(place));
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => drawn().forEach(draw), 150); });
addEventListener("beforeprint", () => plots.forEach(draw));

function choose(layer, links) {
  const places = new Map(layer.places.map((place) => [place.code, place]));
  document.querySelectorAll("#map path").forEach((path) => {
    const place = places.get(path.dataset.code);
    path.setAttribute("class", place ? place.class : "none");
    path.querySelector("title").textContent = path.dataset.name + (place ? " : " + told(layer, place) : "");
  });
  const title = document.getElementById("layer-title");
  title.textContent = layer.label + title.dataset.month;
  const legend = document.getElementById("legend");
  [...legend.children].slice(0, -2).forEach((item) => item.remove());
  const items = layer.classes.map(([least, greatest], rank) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = "swatch q" + rank;
    item.append(swatch, least === greatest ? written(least, layer.unit) : bare(least, layer.unit) + " à " + written(greatest, layer.unit));
    return item;
  });
  legend.prepend(...items);
  const body = document.querySelector("#layer-values tbody");
  body.replaceChildren(...layer.places.map((place) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    if (links.has(place.code)) {
      const link = document.createElement("a");
      link.href = links.get(place.code);
      link.textContent = place.name;
      name.append(link);
    } else {
      name.textContent = place.name;
    }
    const value = document.createElement("td");
    const coverage = document.createElement("td");
    value.className = coverage.className = "number";
    value.textContent = told(layer, place);
    coverage.textContent = place.coverage === null ? "" : numbers.format(Math.round(100 * place.coverage)) + "\u00a0%";
    row.append(name, value, coverage);
    return row;
  }));
}
const told = (layer, place) => place.value === null ? STATUSES[place.status] || "" : written(place.value, layer.unit);

const layers = document.getElementById("layer");
if (layers) {
  const every = JSON.parse(layers.dataset.layers);
  const links = new Map(JSON.parse(layers.dataset.links));
  layers.addEventListener("change", () => choose(every.find((one) => one.code === layers.value), links));
  choose(every[0], links);
}

const search = document.getElementById("search");
if (search) {
  const plain = (text) => text.normalize("NFD").replace(/\p{Diacritic}/gu, "").toLowerCase();
  const entries = [...document.querySelectorAll(".entry")].map((entry) => [entry, plain(entry.textContent)]);
  search.addEventListener("input", () => {
    const wanted = plain(search.value).split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [entry, text] of entries) {
      entry.hidden = !wanted.every((word) => text.includes(word));
      count += entry.hidden ? 0 : 1;
    }
    document.querySelectorAll(".family").forEach((family) => { family.hidden = !family.querySelector(".entry:not([hidden])"); });
    document.getElementById("found").textContent = wanted.length ? (count > 1 ? count + " indicateurs" : count ? "1 indicateur" : "aucun indicateur") : "";
  });
}
const opened = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (opened instanceof HTMLDetailsElement) { opened.open = true; opened.scrollIntoView(); }
