// Sets the theme before anything is drawn: the system's, or the one chosen here.
(() => {
  const NAMES = ['system', 'light', 'dark'];
  const KEY = 'grapevine-theme';
  const root = document.documentElement;
  let theme = 'system';
  try {
    theme = NAMES.find((name) => name === localStorage.getItem(KEY)) ?? theme;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
  const apply = () => {
    root.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (!button) return;
    button.textContent = { system: 'Auto', light: 'Light', dark: 'Dark' }[theme];
    button.setAttribute('aria-label', `Theme: ${button.textContent}. Change it`);
  };
  apply();
  document.addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme').addEventListener('click', () => {
      theme = NAMES[(NAMES.indexOf(theme) + 1) % NAMES.length];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // As above.
      }
      apply();
    });
  });
})();
