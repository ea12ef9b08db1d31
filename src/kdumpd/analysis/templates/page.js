"use strict";

// The theme is the system's until the reader chooses.
const style = document.documentElement.style;
const dark = matchMedia("(prefers-color-scheme: dark)");
document.getElementById("theme").addEventListener("click", () => {
  const now = style.colorScheme || (dark.matches ? "dark" : "light");
  style.colorScheme = now === "dark" ? "light" : "dark";
});

// A search field hides what does not have its text: lines of the log, or rows of a table.
for (const field of document.querySelectorAll("input[type=search]")) {
  const target = document.getElementById(field.dataset.target);
  const items = target.querySelectorAll(":scope > span, tbody > tr");
  const texts = Array.from(items, (item) => item.textContent.toLowerCase());
  const count = field.parentElement.querySelector("output");
  const fold = target.classList.contains("folded") && items.length > 20;

  const more = document.createElement("button");
  if (fold) {
    target.classList.add("short");
    more.className = "more";
    more.textContent = `Show all ${items.length}`;
    more.addEventListener("click", () => { target.classList.remove("short"); more.remove(); });
    target.closest(".wide").after(more);
  }
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let found = 0;
    items.forEach((item, place) => {
      const shown = texts[place].includes(wanted);
      item.classList.toggle("hidden", !shown);
      found += shown;
    });
    target.classList.toggle("short", fold && more.isConnected && !wanted);
    count.textContent = wanted ? `${found} of ${items.length}` : "";
  });
}

// The end of the log is where the crash is.
const log = document.getElementById("log-lines");
log.scrollTop = log.scrollHeight;

// The section that is being read is marked.
const links = new Map(Array.from(document.querySelectorAll("nav a"), (a) => [a.hash.slice(1), a]));
const watcher = new IntersectionObserver(
  (entries) => {
    const entered = entries.find((entry) => entry.isIntersecting);
    if (entered) {
      links.forEach((link, name) => link.classList.toggle("here", name === entered.target.id));
    }
  },
  { rootMargin: "-15% 0px -80% 0px" },
);
document.querySelectorAll("section").forEach((section) => watcher.observe(section));
