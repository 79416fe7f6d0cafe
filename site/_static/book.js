// Browsers refuse to read other pages of a folder, which the search does for its excerpts: there it lists titles alone.
// What stands in those pages comes from sections.js, see below.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

addEventListener("DOMContentLoaded", () => {
  // The sidebar's arrows have no words of their own.
  for (const arrow of document.querySelectorAll(".bd-sidenav summary")) {
    arrow.setAttribute("aria-label", "Pages under " + (arrow.closest("li").querySelector("a")?.textContent.trim() ?? "this one"));
  }
});

// What scrolls sideways in its own box can be reached by keyboard, also where a fold or a turned phone changes the page.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const article = document.querySelector(".bd-article");
  const reach = () => {
    for (const box of article.querySelectorAll("mjx-container, table, div.cell_output, pre")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    }
  };
  if (article) new ResizeObserver(reach).observe(article);
});

// On a phone a figure fits the screen; a tap shows it in its own size, and it scrolls in its box.
addEventListener("click", (event) => {
  const figure = event.target.closest("a.course-figure");
  if (!figure || !matchMedia("(max-width: 700px)").matches) return;
  event.preventDefault();
  figure.classList.toggle("large");
});

// The search: above the pages that hold all words, the sections that hold most of them, from sections.js.
const sections = {
  words(query) {
    const all = query.toLowerCase().match(/\p{Script=Han}+|[\p{L}\p{N}]+/gu) ?? [];
    const told = all.filter((each) => !window.stopwords?.has(each) && (each.length > 1 || /\p{Script=Han}/u.test(each)));
    return [...new Set(told.length ? told : all)];
  },
  // A word and its other forms: "quantize" also finds "quantization". A short word finds itself and its plural.
  forms(word) {
    if (/\p{Script=Han}/u.test(word)) return word;
    const stem = word.length > 3 && window.Stemmer ? new window.Stemmer().stemWord(word).replace(/[iye]$/, "") : word;
    return `(?<![\\p{L}\\p{N}])${stem}${stem.length > 3 ? "\\p{L}{0,6}" : word.length > 3 ? "\\p{L}{0,3}" : "s?"}(?![\\p{L}\\p{N}])`;
  },
  count: (text, form) => text.match(new RegExp(form, "giu"))?.length ?? 0,
  // BM25, with headings counted three times; what holds few of the words falls back, words side by side count more.
  found(query, listed, most = 6) {
    const words = sections.words(query);
    const forms = words.map(sections.forms);
    const pairs = forms.slice(1).map((form, i) => `${forms[i]}[\\s\\-–]{0,2}${form}`);
    const mean = listed.reduce((sum, each) => sum + each[3].length, 0) / listed.length;
    const counts = listed.map(([, page, heading, text]) => forms.map((form) =>
      sections.count(text, form) + 3 * sections.count(heading, form) + (page === heading ? 0 : sections.count(page, form))));
    const rare = forms.map((_, i) => {
      const holders = counts.filter((each) => each[i]).length;
      return Math.log(1 + (listed.length - holders + 0.5) / (holders + 0.5));
    });
    return listed.map((section, at) => {
      const held = counts[at].filter(Boolean).length;
      if (!held || held < words.length / 2) return [0, section];
      const length = 0.4 + 0.6 * (section[3].length + 400) / (mean + 400);
      let score = counts[at].reduce((sum, n, i) => sum + rare[i] * n * 2.2 / (n + 1.2 * length), 0);
      pairs.forEach((pair, i) => { if (sections.count(`${section[2]} ${section[3]}`, pair)) score += 0.7 * Math.min(rare[i], rare[i + 1]); });
      score *= (held / words.length) ** 2;
      return [/^(changelog|contributing|timings)/.test(section[0]) ? score / 3 : score, section];
    }).filter(([score]) => score).sort(([a], [b]) => b - a).slice(0, most).map(([, section]) => section);
  },
  // About 200 characters where most of the words stand.
  excerpt(text, query, size = 200) {
    const hits = sections.words(query).flatMap((word, kind) =>
      [...text.matchAll(new RegExp(sections.forms(word), "giu"))].map((hit) => ({ kind, at: hit.index })));
    const kinds = (from) => new Set(hits.filter(({ at }) => at >= from && at < from + size - 40).map(({ kind }) => kind)).size;
    const best = hits.reduce((most, { at }) => (kinds(at) > kinds(most) ? at : most), hits[0]?.at ?? 0);
    const from = best < 40 ? 0 : text.lastIndexOf(" ", best - 30) + 1;
    const to = from + size >= text.length ? text.length : text.lastIndexOf(" ", from + size);
    return (from ? "… " : "") + text.slice(from, to) + (to < text.length ? " …" : "");
  },
  show(query, listed) {
    const found = sections.found(query, listed);
    const box = document.createElement("div");
    box.id = "course-sections";
    for (const [address, page, heading, text] of found) {
      const [link, where, says] = ["a", "p", "p"].map((kind) => document.createElement(kind));
      link.href = document.documentElement.dataset.content_root + address;
      link.textContent = heading;
      where.append(link, page === heading ? "" : ` · ${page}`);
      let at = 0;
      const said = sections.excerpt(text, query);
      for (const hit of said.matchAll(new RegExp(sections.words(query).map(sections.forms).join("|"), "giu"))) {
        const word = document.createElement("b");
        word.textContent = hit[0];
        says.append(said.slice(at, hit.index), word);
        at = hit.index + hit[0].length;
      }
      says.append(said.slice(at));
      box.append(where, says);
    }
    if (!found.length) {
      const other = document.createElement("p");
      const [glossary, map] = [["the glossary", "glossary.html"], ["the first page", "index.html#your-route"]].map(([words, to]) =>
        Object.assign(document.createElement("a"), { textContent: words, href: document.documentElement.dataset.content_root + to }));
      other.append("No section holds these words. Try fewer words or others, or look in ", glossary, " or at ", map, ".");
      box.append(other);
      document.getElementById("search-results").before(box);
    }
    for (const [words, before] of [["Sections", box], ["Whole pages", document.getElementById("search-results")]]) {
      if (!found.length) break;
      const title = document.createElement("h2");
      title.textContent = words;
      if (before === box) document.getElementById("search-results").before(title, box);
      else before.before(title);
    }
  },
};

addEventListener("DOMContentLoaded", () => {
  const query = new URLSearchParams(location.search).get("q");
  if (!query || !document.getElementById("search-results")) return;
  const script = document.createElement("script");
  script.src = document.documentElement.dataset.content_root + "sections.js";
  script.onload = () => sections.show(query, window.courseSections);
  document.head.append(script);
});
