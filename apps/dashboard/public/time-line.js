/*
 * The slider of a history: what is under it is said, and chosen in the forms. Without this file a point is typed, from the table.
 */

const WIDTH = 600;
const HEIGHT = 120;

export function startTimeLine() {
  const slider = document.getElementById('point');
  if (slider === null) return;
  const points = JSON.parse(slider.dataset.points);
  const text = document.getElementById('point-text');
  const cursor = document.getElementById('point-cursor');
  const fields = [...document.querySelectorAll('[data-point]')];
  const show = () => {
    const point = points[slider.valueAsNumber];
    text.textContent = point.text;
    slider.setAttribute('aria-valuetext', point.text);
    const x = ((slider.valueAsNumber + 0.4) / points.length) * WIDTH;
    cursor.setAttribute('d', `M${x} 0V${HEIGHT}`);
    return point;
  };
  slider.addEventListener('input', () => {
    const { at } = show();
    for (const field of fields) field.value = String(at);
  });
  // From the middle of the first bar to that of the last: a bar takes 0.8 of its place, the thumb is a rem wide.
  slider.style.marginLeft = `calc(${40 / points.length}% - 0.5rem)`;
  slider.style.width = `calc(${100 - 100 / points.length}% + 1rem)`;
  // What was sent, where the page shows its answer.
  const sent = points.findLastIndex(({ at }) => String(at) === fields[0]?.value);
  if (sent >= 0) slider.value = String(sent);
  slider.hidden = false;
  show();
}
