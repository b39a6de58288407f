// One line over the last minute, in a picture that is 60 seconds wide and 100 units high.

const set = (id, path) => document.getElementById(id).setAttribute("d", path);

/** Draw the points of a metric, of which `most` is the greatest value. */
export function draw(points, most) {
  const now = Date.now();
  const x = ({ time }) => (60 - (now - time) / 1000).toFixed(2);
  const y = (value) => (100 - (100 * value) / most).toFixed(2);
  let line = "", area = "", run = [];
  // The last value is that of now. Where there is no value, the line has a hole.
  for (const point of [...points, { ...points.at(-1), time: now }, {}]) {
    if (point.value !== undefined) run.push(point);
    else if (run.length) {
      const path = run.map((point) => `${x(point)} ${y(point.value)}`).join("L");
      line += `M${path}`;
      area += `M${x(run[0])} 100L${path}L${x(run.at(-1))} 100Z`;
      run = [];
    }
  }
  set("line", line);
  set("area", area);
}
