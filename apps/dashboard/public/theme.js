// Before anything is drawn: the theme that this person chose, if one was chosen.
try {
  const theme = localStorage.getItem('onewriter-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {} // storage is switched off: the system's theme counts
