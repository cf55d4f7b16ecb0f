{
  const PAGE = 24; // cards in the document at once
  const compared = facts.versions.length === 2;
  const [nameA, nameB] = compared ? facts.versions.map(version => version.name) : [];

  const number = value => value === null ? "–" : value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) < 1000 ? 3 : 6 });
  const whole = value => value.toLocaleString("en");
  const count = (items, name) => `${whole(items)} ${name}${items === 1 ? "" : "s"}`;
  const percent = share => `${(100 * share).toFixed(share && share < 0.0995 ? 1 : 0)}%`;
  const withUnit = (value, unit) => number(value) + (unit && unit !== "%" ? " " : "") + unit;
  const seconds = value => value < 120 ? `${number(value)} s` : value < 7200 ? `${number(value / 60)} min` : `${number(value / 3600)} h`;

  // The head -------------------------------------------------------------------------------------------------------

  function head() {
    const { run, versions } = facts;
    const { tiles, changes } = facts, about = versions.map(version => version.name);
    const of = tiles.products ? ` of ${count(tiles.products, "product")}` : "";
    byId("brand").append(" · ", versions.length ? `version ${about.join(" against ")} · ` : "", `lake ${facts.lake}`);
    byId("title").append(compared ? `${nameA} against ${nameB}: ${whole(changes.added)} added, ${whole(changes.dropped)} dropped`
      : versions.length ? `${about[0]}: ${count(tiles.samples, "sample")}${of}` : tiles.samples ? `${count(tiles.samples, "quadruplet")}${of}` : "No quadruplets yet");
    const parts = versions.length ? [`published ${versions[0].published_at.slice(0, 16).replace("T", " ")} UTC`] : [];
    if (run) parts.push(`run ${run.run_id} of ${run.at}`, `photos from ${run.photos}`, `profile ${run.profile}`, `code ${run.code}`);
    else parts.push("no run on record");
    byId("subtitle").append(parts.join(" · "));

    const refused = facts.funnel.reduce((sum, step) => sum + step.refused.reduce((all, [, items]) => all + items, 0), 0);
    const failed = facts.funnel.reduce((sum, step) => sum + step.failed, 0);
    const shown = compared
      ? [[tiles.samples, `samples in ${nameA}`], [versions[1].samples, `samples in ${nameB}`], [changes.added, "added", "added"],
         [changes.dropped, "dropped", "dropped"], [changes["in both"], "in both"]]
      : [[tiles.samples, versions.length ? "samples" : "quadruplets"], [tiles.products, "products"], [tiles.targets, "photos edited"],
         [tiles.pairs, "pairs used"], ...(versions.length ? [] : [[refused, "items turned down"], [failed, "failed, asked again"]])];
    byId("tiles").append(...shown.map(([value, name, kind]) =>
      make("li", { class: kind }, make("b", {}, whole(value)), make("span", {}, name))));
  }

  // The funnel: one step a line, its width the count, with a slope to the next ------------------------------------

  function funnel() {
    const most = Math.max(1, ...facts.funnel.map(step => step.count));
    const half = step => Math.max(0.3, 50 * step.count / most);
    byId("funnel").append(...facts.funnel.map((step, at) => {
      const here = half(step), next = half(facts.funnel[at + 1] ?? step);
      const slope = `M${50 - here},30 H${50 + here} C${50 + here},45 ${50 + next},41 ${50 + next},56 ` +
        `H${50 - next} C${50 - next},41 ${50 - here},45 ${50 - here},30 Z`;
      const lost = step.refused.map(([reason, items]) => make("span", {}, `${whole(items)} ${reason}`));
      if (step.failed) lost.push(make("span", {}, `${whole(step.failed)} failed`));
      return make("li", {},
        make("div", { class: "step" }, make("b", {}, whole(step.count)), make("span", {}, step.name)),
        make("div", { class: "shape" }, draw("svg", { viewBox: "0 0 100 56", preserveAspectRatio: "none", "aria-hidden": "true" },
          draw("rect", { class: "side-a", x: 50 - here, width: 2 * here, height: 30 }),
          at < facts.funnel.length - 1 ? draw("path", { class: "slope", d: slope }) : null)),
        make("div", { class: "lost" }, lost.length ? make("p", { class: "muted" }, "turned down") : null, lost));
    }));
  }

  // Distributions --------------------------------------------------------------------------------------------------

  const WIDTH = 300;

  function plot(name, note, height, label, ...marks) {
    return make("figure", { class: compared ? "paired" : null }, make("figcaption", {}, name, note && make("span", {}, note)),
      draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...marks));
  }

  const sum = counts => counts.reduce((all, count) => all + count, 0);

  function bars({ name, rows, shift }) {
    const LINE = 24, LEFT = 96, RIGHT = 78, shown = rows.slice(0, 10);
    const totals = [sum(rows.map(row => row[1])) || 1, sum(rows.map(row => row[2])) || 1];
    const most = Math.max(...shown.map(row => Math.max(row[1] / totals[0], row[2] / totals[1])), 1e-9);
    const across = share => (WIDTH - LEFT - RIGHT) * share / most;
    const marks = shown.flatMap(([value, a, b], line) => {
      const y = line * LINE, share = a / totals[0];
      const text = compared ? `${percent(share)} / ${percent(b / totals[1])}` : `${whole(a)} · ${percent(share)}`;
      const short = value && value.length > 15 ? `${value.slice(0, 14)}…` : value ?? "none";
      return [
        draw("text", { class: "name", x: 0, y: y + 15 }, short),
        draw("rect", { class: "side-a", x: LEFT, y: y + 5, width: across(share), height: compared ? 8 : 13, rx: 2 }),
        compared ? draw("rect", { class: "side-b", x: LEFT, y: y + 14, width: across(b / totals[1]), height: 4, rx: 1 }) : null,
        draw("text", { x: WIDTH, y: y + 15, "text-anchor": "end" }, text),
      ];
    });
    const label = `${name}: ${shown.map(row => `${row[0]} ${row[1]}${compared ? ` against ${row[2]}` : ""}`).join(", ")}`;
    const more = [rows.length > shown.length ? `the ${shown.length} most frequent of ${rows.length}` : "", compared ? `shift ${percent(shift)}` : ""]
      .filter(Boolean).join(", ");
    return plot(name, more, Math.max(1, shown.length) * LINE, label, ...marks.filter(Boolean));
  }

  function histogram({ name, unit, start, step, a, b, quantiles, shift }) {
    const HIGH = 110, bins = a.length;
    if (!bins) return plot(name, "nothing to draw", HIGH, `${name}: nothing to draw`);
    const shares = counts => counts.map(count => count / (sum(counts) || 1));
    const [shareA, shareB] = [shares(a), shares(b)], most = Math.max(...shareA, ...shareB);
    const x = at => WIDTH * at / bins, y = share => HIGH - (HIGH - 8) * share / most;
    const edge = bin => start + bin * step;
    const tidy = value => number(Number(value.toPrecision(6)));
    const marks = a.map((count, bin) => {
      const range = `${tidy(edge(bin))} to ${withUnit(Number(edge(bin + 1).toPrecision(6)), unit)}: ${whole(count)}`;
      return draw("rect", { class: "side-a", x: x(bin) + 0.5, y: y(shareA[bin]), width: Math.max(0.5, x(1) - 1), height: HIGH - y(shareA[bin]) },
        draw("title", {}, compared ? `${range} against ${whole(b[bin])}` : range));
    });
    const stairs = of => `M0,${HIGH}` + of.map((share, bin) => `V${y(share)}H${x(bin + 1)}`).join("") + `V${HIGH}`;
    if (compared) marks.push(draw("path", { class: "edge-a", d: stairs(shareA) }), draw("path", { class: "edge-b", d: stairs(shareB) }));
    marks.push(draw("line", { class: "axis", x1: 0, x2: WIDTH, y1: HIGH, y2: HIGH }));
    const ticks = bins > 1 ? [0, Math.round(bins / 2), bins] : [0]; // of one bin the ends would lie on each other
    marks.push(...ticks.map((bin, at) =>
      draw("text", { x: x(bin), y: HIGH + 15, "text-anchor": ["start", "middle", "end"][at] }, withUnit(Number(edge(bin).toPrecision(6)), unit))));
    const middle = side => quantiles[side] && `median ${withUnit(quantiles[side][1], unit)}, 90% in ${number(quantiles[side][0])}–${withUnit(quantiles[side][2], unit)}`;
    const note = compared
      ? `medians ${["a", "b"].map(side => quantiles[side] ? withUnit(quantiles[side][1], unit) : "–").join(" and ")}, shift ${percent(shift)}`
      : middle("a");
    return plot(name, note, HIGH + 20, `${name}: ${note}`, ...marks);
  }

  function distributions() {
    byId("legend").append(...(compared
      ? [make("span", { class: "key a" }), nameA, make("span", { class: "key b" }), nameB, ", as shares of each version’s samples"]
      : [`Over all ${whole(facts.total)} samples.`]));
    const plots = Object.fromEntries([...facts.histograms.map(one => [one.column, histogram(one)]), ...facts.bars.map(one => [one.column, bars(one)])]);
    const cells = [["psnr"], ["mask_area"], ["strength"], ["filled"], ["outside"], ["same_product"], ["style"], ["viewpoint"], ["category", "task"], ["operation"], ["split_group", "size"]];
    byId("plots").append(...cells.map(cell => make("div", { class: "panel" }, ...cell.map(column => plots[column]))));
  }

  // Pictures: a square window onto a photo, everything placed in the photo's pixels -------------------------------

  const webp = data => `data:image/webp;base64,${data}`;
  const photoSize = photo => facts.photos[photo];

  function wholeView([width, height]) {
    const side = Math.max(width, height);
    return [(width - side) / 2, (height - side) / 2, side];
  }

  function closeView([left, top, width, height], [photoWidth, photoHeight]) {
    const side = Math.min(Math.max(width, height, 48) * 1.35, Math.max(photoWidth, photoHeight));
    const within = (start, size, limit) => side > limit ? (limit - side) / 2 : Math.min(Math.max(start + (size - side) / 2, 0), limit - side);
    return [within(left, width, photoWidth), within(top, height, photoHeight), side];
  }

  function place(picture, [left, top, width, height], [viewLeft, viewTop, side]) {
    const share = value => `${100 * value / side}%`;
    Object.assign(picture.style, { left: share(left - viewLeft), top: share(top - viewTop), width: share(width), height: share(height) });
  }

  function picture(data, box, view) {
    const image = make("img", { alt: "", decoding: "async", draggable: "false" });
    image.src = webp(data);
    place(image, box, view);
    return image;
  }

  const photo = (at, view) => picture(pictures.photos[at], [0, 0, ...photoSize(at)], view);

  const outlined = (path, view) => draw("svg", { viewBox: `${view[0]} ${view[1]} ${view[2]} ${view[2]}`, "aria-hidden": "true" },
    draw("path", { class: "casing", d: path }), draw("path", { d: path }));

  function shot(caption, alt, ...parts) {
    return make("figure", {}, make("div", { class: "stage", role: "img", "aria-label": alt }, ...parts),
      make("figcaption", {}, caption));
  }

  // The slider: the input on the left of the handle, the ground truth on its right; they differ within the crop only
  function compare(sample, crop) {
    const size = photoSize(sample.target), box = sample.box;
    const target = photo(sample.target, wholeView(size)), input = picture(crop, box, wholeView(size));
    const range = make("input", { type: "range", min: 0, max: 100, value: 50, step: 1, "aria-label": "How much of the input covers the ground truth" });
    const stage = make("div", { class: "stage compare" }, target, make("div", { class: "layer" }, input), make("div", { class: "handle" }),
      make("span", { class: "label left" }, "input"), make("span", { class: "label right" }, "truth"), range);
    const move = () => stage.style.setProperty("--at", `${range.value}%`);
    const look = close => {
      const view = close ? closeView(box, size) : wholeView(size);
      place(target, [0, 0, ...size], view);
      place(input, box, view);
      toggle.textContent = close ? "whole picture" : "closer";
    };
    let close = true;
    const toggle = make("button", { type: "button", onclick: () => look(close = !close) });
    range.addEventListener("input", move);
    move();
    look(close);
    return make("figure", { class: "wide" }, stage, make("figcaption", {}, "drag to compare", toggle));
  }

  // Samples ---------------------------------------------------------------------------------------------------------

  const entry = (term, ...text) => make("div", {}, make("dt", {}, term), make("dd", {}, ...text));

  const pictured = new WeakMap(); // card -> what puts its pictures in, once it is near

  function card(sample) {
    const shots = make("div", { class: "shots" }, ...Array.from({ length: 4 }, () => make("div", { class: "stage" })));
    const made = make("article", { class: "card panel" },
      make("header", {}, sample.change ? make("span", { class: `tag change ${sample.change.replace(" ", "-")}` }, sample.change) : null,
        make("h3", {}, sample.product ?? "product unknown"), ...[sample.task, sample.category, sample.operation, sample.split].map(text => make("span", { class: "tag" }, text)),
        make("code", { title: `omnirefiner why ${sample.id}` }, sample.id.slice(0, 12))),
      shots,
      make("dl", { class: "words" }, entry("Edit instruction", sample.edit_instruction), entry("Restore instruction", sample.restore_instruction)),
      make("dl", { class: "scores" }, ...facts.scores.map(({ column, name, unit }) => entry(name, withUnit(sample[column], unit))),
        make("div", { class: "path" }, make("dt", {}, "Photo, and its reference"), make("dd", {}, `${sample.target_path}, ${sample.reference_path}`))));
    pictured.set(made, () => {
      const crop = pictures.edits[sample.at], view = wholeView(photoSize(sample.target));
      shots.replaceChildren(
        shot("reference", `Reference: another photo of ${sample.product ?? "the product"}`, photo(sample.reference, wholeView(photoSize(sample.reference)))),
        shot("input, mask outlined", `Input: ${sample.edit_instruction}`, photo(sample.target, view), picture(crop, sample.box, view), outlined(sample.outline, view)),
        shot("ground truth", `Ground truth: ${sample.target_path}`, photo(sample.target, view)),
        compare(sample, crop));
    });
    return made;
  }

  const near = new IntersectionObserver(entries => {
    for (const seen of entries.filter(one => one.isIntersecting)) {
      near.unobserve(seen.target);
      pictured.get(seen.target)();
    }
  }, { rootMargin: "800px" });

  const FACETS = [["change", "Change"], ["category", "Category"], ["task", "Task"], ["split", "Split"]];
  const filters = byId("filters");
  let found = [], page = 0;

  function prepare() {
    facts.samples.forEach((sample, at) => {
      sample.at = at;
      sample.text = [sample.id, sample.product, sample.operation, sample.edit_instruction, sample.restore_instruction, sample.target_path, sample.reference_path].join("\n").toLowerCase();
    });
    byId("drawn").append(facts.samples.length < facts.total
      ? `${whole(facts.samples.length)} of ${whole(facts.total)}, drawn by their digests${compared ? ", those that changed first" : ""}` : `all ${whole(facts.total)}`);
    for (const { column, name, unit } of facts.scores) {
      const text = unit ? `${name}, ${unit}` : name;
      filters.elements.score.append(make("option", { value: column }, text));
      filters.elements.sort.append(make("option", { value: column }, text));
    }
    for (const [facet, name] of FACETS) {
      const counts = new Map();
      for (const sample of facts.samples) if (sample[facet]) counts.set(sample[facet], (counts.get(sample[facet]) ?? 0) + 1);
      if (counts.size < 2 && facet !== "change" || !counts.size) continue;
      const values = [...counts].sort((one, other) => other[1] - one[1]);
      byId("facets").append(make("fieldset", {}, make("legend", {}, name), ...values.map(([value, count]) =>
        make("label", {}, make("input", { type: "checkbox", name: facet, value }), make("span", {}, value, make("small", {}, whole(count)))))));
    }
    byId("fold").open = !matchMedia("(max-width: 760px)").matches;
    filters.addEventListener("input", search);
    filters.addEventListener("reset", () => setTimeout(search));
    filters.addEventListener("submit", event => event.preventDefault());
    for (const [kind, by] of [["previous", -1], ["next", 1]])
      for (const button of document.getElementsByClassName(kind))
        button.addEventListener("click", () => { page += by; show(); byId("samples").scrollIntoView(); });
  }

  function search() {
    const asked = new FormData(filters), words = asked.get("text").toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = FACETS.map(([facet]) => [facet, new Set(asked.getAll(facet))]).filter(([, values]) => values.size);
    const score = asked.get("score"), sort = asked.get("sort"), order = Number(asked.get("order"));
    const low = asked.get("low") === "" ? -Infinity : Number(asked.get("low")), high = asked.get("high") === "" ? Infinity : Number(asked.get("high"));
    const ranged = low > -Infinity || high < Infinity;
    for (const name of ["low", "high"]) {
      const values = facts.samples.map(sample => sample[score]).filter(value => value !== null);
      const end = values.reduce((one, other) => name === "low" ? Math.min(one, other) : Math.max(one, other), values[0] ?? 0);
      filters.elements[name].placeholder = number(end);
    }
    found = facts.samples.filter(sample =>
      chosen.every(([facet, values]) => values.has(sample[facet]))
      && (!ranged || sample[score] !== null && sample[score] >= low && sample[score] <= high)
      && words.every(word => sample.text.includes(word)));
    if (sort) found.sort((one, other) => order * ((one[sort] ?? Infinity) - (other[sort] ?? Infinity)) || 0);
    else if (order < 0) found.reverse();
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    byId("count").textContent = `${whole(found.length)} of ${whole(facts.samples.length)} samples`;
    for (const text of document.querySelectorAll(".page")) text.textContent = `page ${page + 1} of ${pages}`;
    for (const button of document.getElementsByClassName("previous")) button.disabled = page === 0;
    for (const button of document.getElementsByClassName("next")) button.disabled = page === pages - 1;
    near.disconnect();
    const cards = found.slice(page * PAGE, (page + 1) * PAGE).map(card);
    byId("cards").replaceChildren(...cards.length ? cards : [make("p", { class: "panel muted" }, facts.total
      ? "No sample fits these filters: clear some of them." : "There are no quadruplets yet. The funnel above says where the photos stopped.")]);
    cards.forEach(one => near.observe(one));
  }

  // What was turned down -------------------------------------------------------------------------------------------

  function leftOut() {
    const columns = ["what", "stage", "why", "samples"];
    const rows = facts.left.map(({ what, stage, reason, samples }) => make("tr", {}, ...[what, stage, reason].map(text => make("td", {}, text)), make("td", {}, whole(samples))));
    return make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `What of ${nameB} is not in ${nameA}` }, make("table", {},
      make("caption", {}, `Of the samples of ${nameB} that ${nameA} does not hold as they were`),
      make("thead", {}, make("tr", {}, ...columns.map(text => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows)));
  }

  function refused() {
    const groups = new Map();
    for (const example of facts.examples) {
      const key = JSON.stringify([example.stage, example.reason]);
      groups.set(key, [...groups.get(key) ?? [], example]);
    }
    const items = [...groups.values()].map(examples => {
      const { stage, reason, items: count } = examples[0];
      return make("div", { class: "reason panel" }, make("h3", {}, `${stage}: ${reason} `, make("span", { class: "muted" }, `${whole(count)} turned down${count > examples.length ? `, ${examples.length} of them here` : ""}`)),
        make("ul", {}, ...examples.map(example => {
          const views = example.photos.map(at => wholeView(photoSize(at)));
          const shots = example.photos.map((at, side) => make("div", { class: "stage", role: "img", "aria-label": side ? "the reference" : "the target" },
            photo(at, views[side]), example.outline && !side ? outlined(example.outline, views[0]) : null));
          const words = [example.path, example.sentence, example.detail].filter(Boolean);
          return make("li", {}, shots.length ? make("div", { class: "pair" }, ...shots) : null,
            ...words.map(text => make("div", {}, text)), make("code", { class: "muted" }, example.item_id.slice(0, 12)));
        })));
    });
    items.push(...facts.failures.map(({ stage, items: count, detail }) => make("div", { class: "reason panel" },
      make("h3", {}, `${stage}: failed `, make("span", { class: "muted" }, `${whole(count)}, asked again by the next run`)), make("p", {}, detail ?? ""))));
    if (facts.left.length) items.push(leftOut());
    if (!items.length) items.push(make("p", { class: "muted" }, facts.versions.length ? "What was turned down is told by the report of the lake, without --version." : "Nothing was turned down."));
    byId("examples").append(...items);
  }

  // Timings and origin ---------------------------------------------------------------------------------------------

  function timings() {
    const worked = run => run.steps.some(step => step.items);
    const open = facts.timings.find(worked);
    byId("runs").append(...facts.timings.map(run => {
      const clock = sum(run.steps.map(step => step.seconds)), most = Math.max(1e-9, ...run.steps.map(step => step.seconds));
      const asked = run.steps.some(step => step.requests);
      const cost = step => asked ? [step.requests, step.retries, step.tokens_in, step.tokens_out].map(n => n ? whole(n) : "–") : [];
      const rows = run.steps.map(step => make("tr", {}, make("th", { scope: "row" }, step.stage),
        ...[whole(step.items), whole(step.refused), whole(step.failed), seconds(step.seconds), seconds(step.work_seconds),
          step.items && step.seconds ? number(step.items / step.seconds) : "–", ...cost(step)].map(text => make("td", {}, text)),
        make("td", { class: "bar" }, draw("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
          draw("rect", { class: "side-a", width: 100 * step.seconds / most, height: 10 })))));
      const columns = ["stage", "items", "refused", "failed", "clock", "work", "items/s", ...asked ? ["requests", "retries", "tokens in", "tokens out"] : [], ""];
      const what = run.steps.length ? worked(run) ? `${seconds(clock)} in its stages` : `nothing to do, ${seconds(clock)}` : "no timings on record";
      return make("details", { open: run === open }, make("summary", {}, make("b", {}, `Run ${run.run_id}`), ` ${run.at} · ${run.status} · ${what}`),
        make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": `Timings of run ${run.run_id}` }, make("table", {}, make("thead", {}, make("tr", {}, ...columns.map(text => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows))));
    }));
    if (!facts.timings.length) byId("runs").append(make("p", { class: "muted" }, "No run on record."));
  }

  function origin() {
    const { run } = facts, list = byId("facts-list");
    const tell = (term, ...text) => list.append(make("dt", {}, term), make("dd", {}, ...text));
    for (const version of facts.versions)
      tell(`Version ${version.name}`, `${whole(version.samples)} samples, ${number(version.bytes / 1e6)} MB, parent ${version.parent ?? "none"}, run ${version.run_id}, code ${version.code}, content `, make("code", {}, version.content));
    if (!run) return tell("Run", "none on record");
    tell("Run", `${run.run_id} of ${run.at}, ${run.status}, profile ${run.profile}, photos from ${run.photos}`);
    tell("Code", make("code", {}, run.code));
    tell("Fingerprints", ...run.fingerprints.map(([stage, fingerprint]) => make("div", {}, `${stage} `, make("code", { class: "muted" }, fingerprint))));
    tell("Settings", make("details", {}, make("summary", {}, "show"), make("pre", {}, JSON.stringify(run.settings, null, 2))));
  }

  head();
  funnel();
  distributions();
  prepare();
  search();
  refused();
  timings();
  origin();
}
