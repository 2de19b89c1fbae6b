/* What is wider than the page is scrolled by the keyboard too, and the buttons of each block of code have a name of their own. */
function name() {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", "Code " + (nav.closest("pre") || nav.parentNode).id);
  });
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
}
new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
addEventListener("load", name);
