"use strict";
{
  const token = location.hash.slice(1); // it stays behind the '#', which is sent to nobody
  const KEPT = 24; // pictures at hand
  const NAMES = { target: "target", reference: "reference", raw: "raw edit", input: "input", truth: "ground truth" };
  const KEYS = [
    ["k", "keep"], ["d, then a number", "drop, for that reason"], ["Esc", "do not drop after all"],
    ["u", "undo the last verdict"], ["← →", "back, forward"], ["space, held", "see the truth in place of the edit"],
    ["m", "the mask’s outline, on or off"], ["z", "closer to the edited place, and back"],
    ["s", "what was measured, on or off"], ["n", "write a note"], ["?", "these keys"],
  ];
  const byId = id => document.getElementById(id);
  let session, at = 0, item = null, saving = false, close = false, measured = false;

  // Making elements: every text becomes a text node, never markup -------------------------------------------------

  function fill(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
    made.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ""));
    return made;
  }
  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  // Asking the server -----------------------------------------------------------------------------------------------

  async function ask(path, verdict = null) {
    const headers = { Authorization: `Bearer ${token}` };
    let answer;
    try {
      answer = await fetch(path, verdict ? { method: "POST", headers, body: JSON.stringify(verdict) } : { headers });
    } catch {
      throw new Error("the server does not answer; has `omnirefiner review` ended? Start it again: what was saved is saved");
    }
    if (!answer.ok) throw new Error((await answer.json()).error);
    return answer;
  }
  const told = async (path, verdict) => (await ask(path, verdict)).json();

  const pictures = new Map(); // digest -> promise of an address, the newest last

  function picture(digest) {
    const address = pictures.get(digest)
      ?? ask(`/pictures/${digest}`).then(answer => answer.blob()).then(blob => URL.createObjectURL(blob));
    pictures.delete(digest);
    pictures.set(digest, address);
    for (const old of [...pictures.keys()].slice(0, Math.max(0, pictures.size - KEPT))) {
      pictures.get(old).then(URL.revokeObjectURL, () => {});
      pictures.delete(old);
    }
    address.catch(() => pictures.delete(digest));
    return address;
  }

  async function load(number) {
    const loaded = await told(`/items/${number}`);
    const names = Object.keys(loaded.pictures);
    const images = await Promise.all(names.map(async name => {
      const image = new Image();
      image.src = await picture(loaded.pictures[name]);
      await image.decode();
      return image;
    }));
    return { ...loaded, images: Object.fromEntries(names.map((name, one) => [name, images[one]])) };
  }

  // Pictures: each in an SVG, so that the mask's outline lies on it in its own pixels, and coming closer is a view of it --

  const sizeOf = (shown, image) => shown.size ?? [image.naturalWidth, image.naturalHeight];

  function layer(image, [width, height]) {
    return draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" },
      draw("image", { href: image.src, width, height, preserveAspectRatio: "none" }));
  }

  function outlined(path, [width, height]) {
    return draw("svg", { class: "outline", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
      draw("path", { class: "casing", d: path }), draw("path", { d: path }));
  }

  // `over` lies on `image` and is lifted to see the truth; with a slider its left part lies there
  function panel(shown, name, { image = shown.images[name], over = null, outline = false, slider = false, caption = NAMES[name], main = false }) {
    const size = sizeOf(shown, image), parts = [layer(image, size)];
    if (over) parts.push(make("div", { class: "layer" }, layer(over, size)));
    if (outline) parts.push(outlined(shown.outline, size));
    const stage = make("div", { class: slider ? "stage compare" : "stage", role: "img", "aria-label": caption }, ...parts);
    if (slider) {
      const range = make("input", { type: "range", min: 0, max: 100, value: 100, "aria-label": "How much of the edit covers the truth" });
      const move = () => stage.style.setProperty("--at", `${range.value}%`);
      range.addEventListener("input", move);
      range.addEventListener("change", () => { if (!range.matches(":focus-visible")) range.blur(); });
      move();
      stage.append(make("div", { class: "handle" }), range);
      stage.removeAttribute("role");
    }
    const figure = make("figure", { class: main ? "main" : null }, stage, make("figcaption", {}, caption, slider ? make("span", {}, "drag to compare") : null));
    figure.style.setProperty("--aspect", size[0] / size[1]);
    return figure;
  }

  const PANELS = {
    pair: shown => [panel(shown, "target", {}), panel(shown, "reference", {})],
    edit: shown => [
      panel(shown, "target", { caption: "target, before the edit" }),
      panel(shown, "target", { over: shown.images.raw, caption: "raw edit, as the editor made it" }),
      panel(shown, "target", { over: shown.images.input, outline: true, slider: true, main: true, caption: "pasted edit, mask outlined" }),
    ],
    sample: shown => [
      panel(shown, "reference", {}),
      panel(shown, "target", { over: shown.images.input, outline: true, slider: true, main: true, caption: "input, mask outlined" }),
      panel(shown, "target", { caption: NAMES.truth }),
    ],
  };

  // Closer: the mask's box with some margin, in the picture's aspect
  function view(shown) {
    const [width, height] = shown.size;
    const points = [...shown.outline.matchAll(/(\d+),(\d+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
    if (!close || !points.length) return [0, 0, width, height];
    const [xs, ys] = [points.map(point => point[0]), points.map(point => point[1])];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const wide = Math.min(width, 1.5 * Math.max(right - left, (bottom - top) * width / height, 48)), high = wide * height / width;
    const within = (middle, size, limit) => Math.min(Math.max(middle - size / 2, 0), limit - size);
    return [within((left + right) / 2, wide, width), within((top + bottom) / 2, high, height), wide, high];
  }

  function look() {
    if (!item?.outline) return;
    for (const svg of byId("pictures").querySelectorAll("figure svg"))
      if (!svg.querySelector(`image[href="${item.images.reference?.src}"]`)) svg.setAttribute("viewBox", view(item).join(" "));
  }

  // One item --------------------------------------------------------------------------------------------------------

  const verdictText = ({ verdict, reason }) => verdict === "keep" ? "keep" : `drop: ${reason}`;

  function others(said) {
    const names = Object.entries(said);
    return names.length ? names.map(([name, one]) => `${name}: ${verdictText(one)}${one.note ? ` (${one.note})` : ""}`).join(" · ") : "nobody else yet";
  }

  function figures() {
    const shown = item && (measured || item.mine);
    const number = value => Number(value.toPrecision(3)).toLocaleString("en");
    byId("figures").replaceChildren(...!shown ? [] : [
      ...Object.entries(item.figures).map(([name, value]) => make("span", {}, `${name.replaceAll("_", " ")} `, make("b", {}, number(value)))),
      item.reason ? make("span", {}, item.reason) : ""].filter(Boolean));
  }

  function describe() {
    const mine = item.mine;
    byId("about").replaceChildren(
      ...[item.product ?? "product unknown", ...item.tags].map(text => make("span", { class: "tag" }, text)),
      ...mine ? [make("span", { class: `tag ${mine.verdict}` }, `you: ${verdictText(mine)}`), make("span", { class: "tag others" }, others(item.others))] : [],
      make("code", { title: `omnirefiner why ${item.id}` }, item.id.slice(0, 12)));
    byId("words").replaceChildren(...Object.entries(item.words).map(([name, text]) =>
      make("div", {}, make("dt", {}, `${name} instruction`), make("dd", {}, text))));
    byId("note").value = mine?.note ?? "";
    figures();
  }

  function progress() {
    const done = session.items.filter(Boolean).length;
    byId("progress").max = session.items.length;
    byId("progress").value = done;
    byId("judged").textContent = `${done} judged`;
    byId("place").textContent = `${session.kind} ${at + 1} of ${session.items.length}`;
  }

  const busy = on => byId("main").setAttribute("aria-busy", on);

  async function show(number) {
    at = number;
    item = null;
    busy(true);
    choose(false);
    progress();
    try {
      const loaded = await load(number);
      if (at !== number) return; // one went on meanwhile
      item = loaded;
      byId("pictures").className = session.kind;
      byId("pictures").replaceChildren(...PANELS[session.kind](item));
      byId("main").scrollTop = 0;
      describe();
      look();
      busy(false);
      const next = following(number);
      if (next !== null) load(next).catch(() => {}); // its pictures are then at hand
    } catch (error) {
      if (at === number) say(`This ${session.kind} cannot be shown: ${error.message}`, true);
    }
  }

  function finish() {
    item = null;
    progress();
    for (const id of ["about", "words", "figures"]) byId(id).replaceChildren();
    byId("pictures").replaceChildren(make("div", { class: "end" }, make("h1", {}, `All ${session.items.length} are judged`),
      make("p", { class: "muted" }, "← goes back through them. For more, end `omnirefiner review` with Ctrl-C and start it again.")));
    busy(false);
  }

  function following(number) { // the next that is not judged
    const order = [...session.items.keys()], turn = [...order.slice(number + 1), ...order.slice(0, number)];
    return turn.find(one => !session.items[one]) ?? null;
  }

  // Verdicts --------------------------------------------------------------------------------------------------------

  function say(text, bad = false) {
    byId("status").textContent = text;
    byId("status").className = bad ? "bad" : "";
  }

  function choose(open) {
    byId("reasons").hidden = !open;
    byId("verdicts").hidden = open;
  }

  // Returns whether it is saved: only then the page goes on
  async function save(number, verdict) {
    saving = true;
    busy(true);
    try {
      const said = await told(`/items/${number}/verdict`, verdict);
      session.items[number] = said.mine;
      say(said.mine ? `Saved: ${verdictText(said.mine)}. Others: ${others(said.others)}` : "Undone.");
      return true;
    } catch (error) {
      choose(false);
      say(`Not saved: ${error.message}`, true);
      busy(false);
      return false;
    } finally {
      saving = false;
    }
  }

  async function judge(verdict, reason = null) {
    if (saving || !item) return; // nothing is judged before it is seen
    if (!await save(at, { verdict, reason, note: byId("note").value })) return;
    const next = following(at);
    if (next === null) finish();
    else show(next);
  }

  async function undo() {
    if (saving) return;
    const judged = [...session.items.keys()].filter(one => session.items[one]);
    if (!judged.length) return say("There is nothing to undo.");
    const last = judged.reduce((one, other) => session.items[one].sequence > session.items[other].sequence ? one : other);
    if (await save(last, { verdict: "undone" })) show(last);
  }

  function go(by) {
    const over = !item && byId("main").getAttribute("aria-busy") === "false"; // all are judged: back is to the last one seen
    const to = over ? at : at + by;
    if (!saving && to >= 0 && to < session.items.length) show(to);
  }

  // Keys ------------------------------------------------------------------------------------------------------------

  const ACTIONS = {
    k: () => judge("keep"),
    d: () => item && choose(true),
    u: undo,
    ArrowLeft: () => go(-1),
    ArrowRight: () => go(1),
    m: () => document.body.classList.toggle("plain"),
    z: () => { close = !close; look(); },
    s: () => { measured = !measured; figures(); },
    n: () => byId("note").focus(),
    "?": () => byId("help").showModal(),
    Escape: () => choose(false),
  };

  function press(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    if (target === byId("note")) {
      if (key === "Enter" || key === "Escape") target.blur();
      return;
    }
    if (target.type === "range" && key.startsWith("Arrow")) return; // the slider's own
    if (key === " " && target.tagName !== "BUTTON") {
      event.preventDefault();
      document.body.classList.add("truth");
      return;
    }
    if (event.repeat) return; // a key that is held judges one item only
    const reason = byId("reasons").hidden ? undefined : session.reasons[Number(key) - 1];
    const action = reason ? () => judge("drop", reason) : ACTIONS[key.length === 1 ? key.toLowerCase() : key];
    if (!action || !byId("reasons").hidden && !reason && key !== "Escape") return;
    event.preventDefault();
    action();
  }

  function prepare() {
    byId("who").textContent = `${session.reviewer} · lake ${session.lake}`;
    byId("keys").append(...KEYS.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]));
    byId("reasons").append(...session.reasons.map((reason, number) => {
      const button = make("button", { type: "button" }, make("kbd", {}, String(number + 1)), ` ${reason}`);
      button.addEventListener("click", () => judge("drop", reason));
      return button;
    }));
    const cancel = make("button", { type: "button" }, make("kbd", {}, "Esc"), " cancel");
    cancel.addEventListener("click", () => choose(false));
    byId("reasons").append(cancel);
    for (const [id, key] of [["keep", "k"], ["drop", "d"], ["undo", "u"], ["back", "ArrowLeft"], ["forward", "ArrowRight"], ["ask", "?"]])
      byId(id).addEventListener("click", ACTIONS[key]);
    document.addEventListener("click", event => { if (event.detail) document.activeElement?.closest("button")?.blur(); });
    document.addEventListener("keydown", press);
    document.addEventListener("keyup", event => { if (event.key === " ") document.body.classList.remove("truth"); });
    addEventListener("blur", () => document.body.classList.remove("truth"));
  }

  async function start() {
    try {
      session = await told("/session");
    } catch (error) {
      return say(error.message, true);
    }
    prepare();
    const first = session.items.findIndex(mine => !mine);
    if (first < 0) finish();
    else show(first);
  }

  start();
}
