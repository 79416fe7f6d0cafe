// Browsers refuse to read other pages of a folder, which the search does for its excerpts: there it lists titles alone.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

addEventListener("DOMContentLoaded", () => {
  // The sidebar's arrows have no words of their own.
  for (const arrow of document.querySelectorAll(".bd-sidenav summary")) {
    arrow.setAttribute("aria-label", "Pages under " + (arrow.closest("li").querySelector("a")?.textContent.trim() ?? "this one"));
  }
});

// What scrolls sideways in its own box can be reached by keyboard.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const reach = () => {
    for (const box of document.querySelectorAll(".bd-article mjx-container, .bd-article table, .bd-article div.cell_output, .bd-article pre")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1;
      if (scrolls) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    }
  };
  reach();
  addEventListener("resize", reach);
});
