// Gitea answers its forms with where to go on, as JSON, for its own scripts.
document.addEventListener('submit', async (event) => {
  const form = event.target;
  if (!form.classList.contains('form-fetch-action')) return;
  event.preventDefault();
  const answer = await fetch(form.getAttribute('action'), {method: 'POST', body: new FormData(form, event.submitter)});
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    alert(told.errorMessage || told.message || answer.statusText);
    return;
  }
  const next = new URL(told.redirect || '', location.href);
  const here = next.pathname === location.pathname && next.search === location.search;
  location.assign(next);
  if (here) location.reload();
});
