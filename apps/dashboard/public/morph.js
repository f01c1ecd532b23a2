/**
 * Changes `place` until it is what `html` says, and touches nothing else: what has the focus, is selected or scrolled
 * stays so. Elements with the same data-key are the same thing; others are matched by their position.
 */
export function morphInto(place, html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  morphChildren(place, template.content);
}

function morphChildren(from, to) {
  const keyed = new Map();
  for (const child of from.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let next = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const key = wanted.dataset?.key;
    const found = key === undefined ? undefined : keyed.get(key);
    if (found !== undefined && found !== next && found.tagName === wanted.tagName) {
      from.insertBefore(found, next);
      morph(found, wanted);
    } else if (next !== null && isSame(next, wanted)) {
      const after = next.nextSibling;
      morph(next, wanted);
      next = after;
    } else {
      from.insertBefore(wanted, next);
    }
  }
  while (next !== null) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

function isSame(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;
}

function morph(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  for (const { name, value } of to.attributes) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    // `open` is the person's: a folded list stays as it was left.
    if (!to.hasAttribute(name) && name !== 'open') from.removeAttribute(name);
  }
  morphChildren(from, to);
}
