// Fetches the page again every second and replaces what changed, keeping open
// what the reader opened.
const live = document.getElementById('live');
for (const a of document.querySelectorAll('[data-submit]')) a.addEventListener('change', () => a.form.submit());
const paint = (root) => { for (const a of root.querySelectorAll('[data-hue]')) a.style.setProperty('--hue', a.dataset.hue); };
const key = (d) => d.dataset.key || (d.closest('[id]')?.id || '') + d.querySelector('summary')?.textContent.split('\n')[0];
let etag = '';
async function poll() {
  try {
    const res = await fetch(location.href, { headers: etag ? { 'If-None-Match': etag } : {}, cache: 'no-store' });
    if (res.status === 200) {
      const next = new DOMParser().parseFromString(await res.text(), 'text/html').getElementById('live');
      etag = res.headers.get('ETag');
      if (next && next.innerHTML !== poll.last) {
        poll.last = next.innerHTML;
        const open = new Map([...live.querySelectorAll('details')].map((d) => [key(d), d.open]));
        live.innerHTML = next.innerHTML;
        for (const d of live.querySelectorAll('details')) if (open.has(key(d))) d.open = open.get(key(d));
        paint(live);
      }
    }
  } catch { /* the server is being restarted: try again */ }
  setTimeout(poll, 1000);
}
paint(document);
if (live) { poll.last = live.innerHTML; poll(); }
