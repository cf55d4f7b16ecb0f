{
  const PAGE = 12; // cases in the document at once, until more are asked for
  const ALL = "all";

  const number = value => value === null || value === undefined ? "–" : Math.abs(value) >= 1000 ? value.toFixed(0)
    : value.toPrecision(3);
  const percent = share => share === null ? "–" : `${(100 * share).toFixed(0)}%`;
  const range = one => one.low === null ? "" : `${number(one.low)} to ${number(one.high)}`;

  const metricNames = Object.keys(facts.metrics);
  const state = { metric: facts.by, shown: PAGE };
  const high = () => facts.metrics[state.metric].better === "high";
  const mean = (model, stratum) => model.strata[stratum][state.metric].mean;
  const badness = value => value === null || value === undefined ? Infinity : high() ? -value : value;
  const ranked = () => [...facts.models].sort((one, other) =>
    (one.measured < facts.samples) - (other.measured < facts.samples) || badness(mean(one, ALL)) - badness(mean(other, ALL)));

  function head() {
    byId("title").append(facts.benchmark);
    byId("subtitle").append(`${facts.samples.toLocaleString("en")} samples of ${facts.groups.toLocaleString("en")} products, content ${facts.content.slice(0, 12)}`);
    for (const name of metricNames)
      byId("metric").append(make("option", { value: name, selected: name === state.metric }, facts.metrics[name].title));
    byId("metric").addEventListener("change", event => { state.metric = event.target.value; state.shown = PAGE; all(); });
    const reasons = new Map();
    for (const [name, why] of Object.entries(facts.not_computed)) reasons.set(why, [...reasons.get(why) ?? [], name]);
    if (reasons.size) byId("missing").append(`Not computed: ${[...reasons].map(([why, names]) => `${names.join(", ")} (${why})`).join("; ")}`);
  }

  function table() {
    const best = Object.fromEntries(metricNames.map(name => {
      const values = facts.models.map(model => model.strata[ALL][name].mean).filter(value => value !== null);
      return [name, facts.metrics[name].better === "high" ? Math.max(...values) : Math.min(...values)];
    }));
    const rows = ranked().map(model => make("tr", {},
      make("th", { scope: "row" }, model.name, make("span", {}, model.how),
        model.measured < facts.samples ? make("span", { class: "incomplete" }, `incomplete: ${model.measured} of ${facts.samples}`) : null,
        model.refused ? make("span", {}, `${model.refused} refused, counted as the draft`) : null),
      ...metricNames.map(name => {
        const one = model.strata[ALL][name];
        return make("td", { class: [name === state.metric ? "chosen" : "", one.mean === best[name] ? "best" : ""].join(" ").trim() || null },
          number(one.mean), make("small", {}, range(one)));
      })));
    const arrow = name => facts.metrics[name].better === "high" ? " ↑" : " ↓";
    byId("table").replaceChildren(
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "model"), ...metricNames.map(name => make("th", { scope: "col" }, facts.metrics[name].title + arrow(name))))),
      make("tbody", {}, ...rows));
  }

  // Bars of a stratum: one a model, best first over all, with the interval
  function bars(stratum) {
    const models = ranked(), HEIGHT = 22, LEFT = 122, WIDTH = 330;
    const ends = models.flatMap(model => { const one = model.strata[stratum][state.metric]; return [one.mean, one.low, one.high]; }).filter(value => value !== null);
    if (!ends.length) return null;
    const low = Math.min(0, ...ends), high = Math.max(...ends, low + 1e-9);
    const across = value => LEFT + (WIDTH - LEFT - 48) * (value - low) / (high - low);
    const marks = models.flatMap((model, at) => {
      const one = model.strata[stratum][state.metric], y = at * HEIGHT + 4;
      const label = model.name.length > 20 ? `${model.name.slice(0, 19)}…` : model.name;
      const name = draw("text", { x: 0, y: y + 12 }, draw("title", {}, model.name), label);
      if (one.mean === null) return [name, draw("text", { x: LEFT, y: y + 12 }, "–")];
      return [name,
        draw("rect", { class: at ? "bar" : "bar first", x: across(Math.min(0, one.mean)), y, width: Math.max(1, Math.abs(across(one.mean) - across(Math.max(low, 0)))), height: 14, rx: 2 }),
        one.low === null ? null : draw("line", { class: "whisker", x1: across(one.low), x2: across(one.high), y1: y + 7, y2: y + 7 }),
        draw("text", { x: across(one.high ?? one.mean) + 5, y: y + 12 }, number(one.mean))];
    });
    const told = models.map(model => `${model.name} ${number(mean(model, stratum))}`).join(", ");
    return make("figure", { class: "panel" }, make("figcaption", {}, `${stratum} `, make("span", {}, `${facts.strata[stratum]} samples`)),
      draw("svg", { viewBox: `0 0 ${WIDTH} ${models.length * HEIGHT + 4}`, role: "img", "aria-label": `${stratum}: ${told}` }, ...marks));
  }

  function strata() {
    byId("legend").textContent = `${facts.metrics[state.metric].title}, ${high() ? "higher" : "lower"} is better; lines are 95% intervals over products.`;
    byId("strata").replaceChildren(...Object.keys(facts.strata).map(bars).filter(Boolean));
  }

  function duels() {
    const rows = facts.duels.filter(duel => duel.metric === state.metric).map(duel => make("tr", {},
      make("th", { scope: "row" }, `${duel.one} against ${duel.other}`),
      ...[number(duel.mean), range(duel), percent(duel.wins), percent(duel.ties), String(duel.samples)].map(text => make("td", {}, text))));
    byId("duels").replaceChildren(
      make("thead", {}, make("tr", {}, ...["pair", "better by", "95%", "wins", "ties", "samples"].map(text => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...rows));
  }

  // Cases: what is compared is chosen for all of them; sides are pictures by their place in a case's list
  const sides = [["input", 1], ["ground truth", 2], ...facts.models.map((model, at) => [model.name, at + 3])];
  const filters = byId("filters");

  function prepare() {
    const choose = (name, options, chosen) => filters.elements[name].append(
      ...options.map(([text, value]) => make("option", { value, selected: value === chosen }, text)));
    choose("model", facts.models.map((model, at) => [model.name, at]), 0);
    choose("stratum", [["all", ""], ...[...new Set(facts.cases.map(one => one.stratum))].sort().map(name => [name, name])], "");
    choose("left", sides, 3);
    choose("right", sides, 2);
    filters.addEventListener("change", () => { state.shown = PAGE; cases(); });
    filters.addEventListener("submit", event => event.preventDefault());
    byId("more").addEventListener("click", () => { state.shown += PAGE; cases(); });
  }

  function picture(data, alt) {
    if (!data) return make("span", { class: "layer none" }, "none");
    const image = make("img", { alt, draggable: "false" });
    image.src = `data:image/webp;base64,${data}`;
    return image;
  }
  const shot = (caption, data) => make("figure", {}, make("div", { class: "stage" }, picture(data, caption)), make("figcaption", {}, caption));

  function slider(at, left, right) {
    const [one, other] = [left, right].map(side => sides.find(([, place]) => place === side)[0]);
    const handle = make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": `How much of ${one} covers ${other}` });
    const stage = make("div", { class: "stage compare" }, picture(pictures[at][right], other),
      make("div", { class: "layer" }, picture(pictures[at][left], one)), make("div", { class: "handle" }), handle, make("span", { class: "ring" }));
    handle.addEventListener("input", () => stage.style.setProperty("--at", `${handle.value}%`));
    return make("figure", { class: "wide" }, stage, make("figcaption", {}, `${one} | ${other}: drag to compare`));
  }

  function card(one) {
    const left = Number(filters.elements.left.value), right = Number(filters.elements.right.value);
    const models = facts.models.map((model, number_) => shot(
      `${model.name}: ${number(one.figures[number_][state.metric])}${one.refused[number_] ? `, refused: ${one.refused[number_]}` : ""}`,
      pictures[one.at][number_ + 3]));
    return make("article", { class: "case panel" },
      make("header", {}, make("span", { class: "tag" }, one.stratum), make("h3", {}, one.instruction), make("code", {}, one.key.slice(0, 12))),
      make("div", { class: "shots" }, slider(one.at, left, right), shot("reference", pictures[one.at][0]),
        shot("input", pictures[one.at][1]), shot("ground truth", pictures[one.at][2]), ...models));
  }

  function cases() {
    const model = Number(filters.elements.model.value), stratum = filters.elements.stratum.value;
    const found = facts.cases.filter(one => !stratum || one.stratum === stratum)
      .sort((one, other) => badness(other.figures[model][state.metric]) === badness(one.figures[model][state.metric]) ? 0
        : worst(other, model) - worst(one, model));
    byId("count").textContent = `${found.length} of ${facts.samples} samples are in this page, the worst of ${facts.models[model].name} by ${facts.metrics[state.metric].title} first`;
    byId("cases").replaceChildren(...found.slice(0, state.shown).map(card));
    byId("more").hidden = found.length <= state.shown;
  }
  // What was not measured comes last
  const worst = (one, model) => { const value = badness(one.figures[model][state.metric]); return value === Infinity ? -Infinity : value; };

  function how() {
    byId("how").append(...facts.models.map(model => make("details", {}, make("summary", {}, `${model.name}: ${model.how}`),
      make("pre", {}, JSON.stringify(model.about, null, 2)))));
  }

  function all() { table(); strata(); duels(); cases(); }
  facts.cases.forEach((one, at) => { one.at = at; });
  head();
  prepare();
  how();
  all();
}
