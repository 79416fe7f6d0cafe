// Browsers refuse to read other pages of a folder, which the search does for its excerpts: there it lists titles alone.
if (location.protocol === "file:" && window.DOCUMENTATION_OPTIONS) DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
