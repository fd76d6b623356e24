// Runs before the first paint, so that a dark room is not lit up by a white page.
try {
  const theme = localStorage.getItem('annunciator.theme');
  if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
} catch {
  // No storage allowed: the system's choice stays.
}
