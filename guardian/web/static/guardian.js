// Makes pages better, and none depends on it: they keep themselves up to date, commands can be
// copied, times are told in the reader's own zone. No library, no request but to our own pages.
"use strict";
(() => {
  const main = document.getElementById("main");
  const button = document.getElementById("live");
  const said = document.getElementById("said");
  const label = button && button.querySelector(".label");

  // --- times ---

  const units = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

  function shortDuration(seconds) {
    let rest = Math.round(seconds);
    if (rest >= 14 * 86400) rest = Math.round(rest / 86400) * 86400;
    else if (rest >= 86400) rest = Math.round(rest / 3600) * 3600;
    else if (rest >= 60) rest = Math.round(rest / 60) * 60;
    const words = [];
    for (const [size, unit] of units) {
      const count = Math.floor(rest / size);
      rest -= count * size;
      if (count) words.push(count + unit);
    }
    return words.slice(0, 2).join(" ") || "0s";
  }

  // The server's clock counts: a laptop's may be wrong, and "in 3m" would be a lie.
  const skewTo = (text) => {
    const at = Date.parse(text);
    return Number.isFinite(at) ? at - Date.now() : 0;
  };
  let skew = main ? skewTo(main.dataset.now) : 0;
  function tellTimes(root) {
    const now = Date.now() + skew;
    for (const one of root.querySelectorAll("time")) {
      const at = Date.parse(one.dateTime);
      if (!Number.isFinite(at)) continue;
      if (!one.dataset.utc) {
        one.dataset.utc = one.title;
        one.title = `${new Date(at).toLocaleString()} here · ${one.dataset.utc}`;
      }
      if (!("ago" in one.dataset)) continue;
      const seconds = (now - at) / 1000;
      const text = Math.abs(seconds) < 5 ? "just now"
        : seconds > 0 ? `${shortDuration(seconds)} ago` : `in ${shortDuration(-seconds)}`;
      if (one.textContent !== text) one.textContent = text;
    }
  }

  // --- nights under the pointer ---

  const tip = document.getElementById("tip");
  const words = { p: "proven", u: "unproven", r: "running", x: "not restorable", f: "failed", m: "missing", n: "none due" };

  document.addEventListener("pointermove", (event) => {
    const chart = event.target instanceof Element && event.target.closest("[data-nights]");
    if (!chart) { tip.hidden = true; return; }
    const { nights, first, pitch, rows } = chart.dataset;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    const start = new Date(`${first}T00:00:00Z`);
    const column = Math.floor(point.x / pitch);
    const row = Math.floor(point.y / pitch);
    const place = rows ? column * 7 + row - ((start.getUTCDay() + 6) % 7) : column;
    const inside = point.x >= 0 && (!rows || (row >= 0 && row < 7));
    const night = inside && nights[place];
    tip.hidden = !night;
    if (!night) return;
    const day = new Date(start.getTime() + place * 86400000);
    const text = day.toLocaleDateString(undefined, { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" });
    tip.textContent = `${text}: ${words[night]}`;
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 16}px`;
  });

  // --- copying ---

  function offerCopies(root) {
    if (!navigator.clipboard) return;
    for (const one of root.querySelectorAll("[data-copy]")) one.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const one = event.target.closest("[data-copy]");
    if (!one) return;
    try {
      await navigator.clipboard.writeText(one.dataset.copy);
      one.textContent = "Copied";
      said.textContent = "Copied";
    } catch {
      one.textContent = "Select and copy";
    }
    setTimeout(() => { one.textContent = "Copy"; }, 2000);
  });

  // --- keeping up to date ---

  const isField = (one) => one.matches("input, select, textarea, option");

  // Puts fresh nodes in the place of old ones only where they differ. What the reader does stays:
  // the focus, an open "what to do", what is being typed, where a table was scrolled to.
  function merge(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) return;
    if (old.matches("[data-drawn]")) { // by charts.js, which draws it anew
      if (old.dataset.chart !== fresh.dataset.chart) {
        old.dataset.chart = fresh.dataset.chart;
        old.dispatchEvent(new Event("redraw"));
      }
      return;
    }
    for (const { name } of [...old.attributes]) {
      const keep = name === "open" || (name === "hidden" && old.matches("[data-copy]"));
      if (!fresh.hasAttribute(name) && !keep) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (name === "hidden" && old.matches("[data-copy]")) continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    if (isField(old) || (old.matches("form") && old.contains(document.activeElement))) return;
    mergeChildren(old, fresh);
  }

  // What has an id is found by it, wherever it has moved to; the rest goes by its place.
  function mergeChildren(old, fresh) {
    const nodes = [...fresh.childNodes];
    const wanted = new Set(nodes.map((node) => node.id).filter(Boolean));
    const known = new Map();
    for (const one of old.children) if (wanted.has(one.id)) known.set(one.id, one);
    let at = old.firstChild;
    const drop = (end) => {
      while (at !== end) {
        const next = at.nextSibling;
        at.remove();
        at = next;
      }
    };
    for (const node of nodes) {
      const same = node.id && known.get(node.id);
      if (same) {
        // Nothing that stays lies between: then it need not be moved, and keeps the focus.
        let next = at;
        while (next && next !== same && !wanted.has(next.id)) next = next.nextSibling;
        if (next === same) {
          drop(same);
          at = same.nextSibling;
        } else {
          old.insertBefore(same, at);
        }
        merge(same, node);
      } else if (at && !at.id && !node.id && at.nodeName === node.nodeName) {
        const next = at.nextSibling;
        merge(at, node);
        at = next;
      } else {
        old.insertBefore(node, at);
      }
    }
    drop(null);
  }

  let period = main ? Number(main.dataset.live) * 1000 : 0;
  let isOn = period > 0;
  let timer = 0;
  let failures = 0;

  function show(state) {
    if (!button) return;
    button.setAttribute("aria-pressed", String(isOn));
    button.classList.toggle("lost", state === "lost");
    label.textContent = !isOn ? "Paused" : state === "lost" ? "No answer" : "Live";
  }

  function again(delay) {
    clearTimeout(timer);
    if (isOn) timer = setTimeout(refresh, delay);
  }

  async function refresh() {
    if (document.hidden) return; // asked for when the page is looked at again
    try {
      const answer = await fetch(location.href, {
        headers: { "X-Guardian-Fragment": "1" }, cache: "no-store", redirect: "error",
        signal: AbortSignal.timeout(10000),
      });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      skew = skewTo(answer.headers.get("X-Guardian-Now"));
      const fresh = document.createElement("main");
      fresh.innerHTML = (await answer.text()).trim();
      tellTimes(fresh);
      if (!isOn) return;
      mergeMain(fresh);
      tellCount(answer.headers.get("X-Guardian-Open") || "0");
      failures = 0;
      show("live");
    } catch {
      failures += 1;
      if (failures === 2) said.textContent = "guardian does not answer; what is shown is old";
      if (failures >= 2) show("lost");
    }
    again(Math.min(period * 2 ** Math.min(failures, 4), 60000));
  }

  // The number beside "Incidents" stands outside of what is asked for.
  const counter = document.getElementById("open-count");
  let count = counter ? counter.textContent.trim().split(" ")[0] || "0" : "0";
  function tellCount(text) {
    const [number, worst] = text.split(" ");
    if (!counter || number === count) return;
    if (Number(number) > Number(count)) said.textContent = `${number} open incidents, the worst ${worst}`;
    count = number;
    counter.textContent = "";
    if (number === "0") return;
    const sign = document.createElement("span");
    sign.className = worst === "P0" || worst === "P1" ? "count urgent" : "count";
    const more = document.createElement("span");
    more.className = "unseen";
    more.textContent = ` open, the worst ${worst}`;
    sign.append(number, more);
    counter.append(" ", sign);
  }

  function mergeMain(fresh) {
    const headline = main.querySelector("h1");
    const before = headline && headline.textContent;
    mergeChildren(main, fresh);
    tellTimes(main);
    offerCopies(main);
    const now = main.querySelector("h1");
    if (now && now.textContent !== before) said.textContent = now.textContent;
  }

  if (button && period) {
    for (const edge of ["firstChild", "lastChild"]) {
      if (main[edge].nodeType === Node.TEXT_NODE) main[edge].remove(); // white space
    }
    button.hidden = false;
    button.addEventListener("click", () => {
      isOn = !isOn;
      show("live");
      if (isOn) refresh(); else clearTimeout(timer);
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
    again(period);
  }

  const here = document.querySelector(".top nav [aria-current]");
  if (here) here.parentElement.parentElement.parentElement.scrollLeft = here.offsetLeft - 40;
  for (const one of document.querySelectorAll(".local-hint")) one.hidden = false;
  tellTimes(document);
  offerCopies(document);
  setInterval(() => tellTimes(document), 5000);
})();
