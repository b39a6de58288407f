// What may happen by chance to pages, to the browser and to the server. A seed decides it, so a
// story that fails can be played again.
import { Browser, chance, Time } from "./fakes.mjs";
import { Server } from "./server.mjs";

const STEPS = 60;
const SETTLES = 180e3; // Until all that was broken is mended, at the longest.

/** Its subclasses have may(), use(page) or open(), change(), judge(page) and figures(). */
export class Story {
  constructor(seed, log) {
    this.random = chance(seed);
    this.time = new Time();
    this.server = new Server(this.time, this.random);
    this.latency = this.random.of([1, 5, 20]);
    this.browser = new Browser(this.time, this.random, this.server, this.latency);
    this.share = this.random.of([true, true, "lock", "lock", false]);
    this.pages = [];
    this.serial = 0;
    this.note = (...said) => log && console.log(Math.round(this.time.now), ...said);
  }

  /** Open a page, with its first user. */
  open() {
    const page = { index: this.pages.length, scope: this.browser.page(), users: [], errors: [] };
    this.note("page", page.index);
    page.push = page.scope.exported.connect("/stream", { share: this.share });
    page.push.on("error", (error) => page.errors.push(String(error)));
    page.push.on("gap", () => {});
    this.pages.push(page);
    this.use(page);
  }

  /** A page leaves, or is hidden until it is shown. */
  leave(how) {
    const page = this.random.of(this.awake());
    if (!page) return;
    this.note(how, page.index);
    if (how == "crash") this.browser.crash(page.scope);
    else if (how == "close") page.push.close();
    else this.browser.hide(page.scope, how == "hide");
    if (how == "hide") page.hidden = true;
    else this.pages.splice(this.pages.indexOf(page), 1);
    return page;
  }

  show() {
    const page = this.pages.find((page) => page.hidden);
    if (!page) return;
    this.note("show", page.index);
    page.hidden = false;
    this.browser.show(page.scope);
  }

  toggle() {
    this.server.up = !this.server.up;
    this.note(this.server.up ? "up" : "down");
    if (!this.server.up) this.server.cut();
  }

  cut(how = "cut") {
    this.note(how);
    this.server[how]();
  }

  awake() {
    return this.pages.filter((page) => !page.hidden);
  }

  mend() {
    this.server.up = true;
    while (this.pages.some((page) => page.hidden)) this.show();
  }

  async go() {
    const may = this.may(); // Weights, and what happens as often as they say.
    const total = may.reduce((sum, [weight]) => sum + weight, 0);
    this.open();
    for (let step = 0; step < STEPS; step++) {
      let index = 0, left = this.random() * total;
      while ((left -= may[index][0]) > 0) index++;
      may[index][1]();
      await this.time.pass(this.random() ** 3 * this.random.of([1, 20, 500, 5e3]));
    }
    this.note("settle");
    this.mend();
    await this.time.pass(SETTLES);
    this.change();
    await this.time.pass(1e3);
    for (const page of this.pages) {
      this.judge(page);
      const wrong = [...page.errors, ...page.scope.said];
      if (wrong.length) throw new Error(`page ${page.index}: ${wrong}`);
    }
    return this.figures();
  }
}

/** Play the stories that the arguments ask for: FIRST COUNT [verbose] */
export const play = async (Kind) => {
  const [first = 1, count = 100, verbose] = process.argv.slice(2).map(Number);
  const sums = {};
  let failed = 0;
  for (let seed = first; seed < first + count; seed++) {
    const story = new Kind(seed, verbose);
    try {
      for (const [name, figure] of Object.entries(await story.go()))
        sums[name] = (sums[name] || 0) + figure;
    } catch (error) {
      failed++;
      const { share, browser: { blocked } } = story;
      console.log(`seed ${seed} (share ${share}, ${JSON.stringify(blocked)}): ${error.message}`);
      if (verbose || !/page/.test(error.message)) console.log(error.stack);
      if (failed >= 10) break;
    }
  }
  const figures = Object.entries(sums).map(([name, sum]) => `${sum} ${name}`);
  console.log(`${count} stories, ${failed} failed; ${figures.join(", ")}`);
  process.exit(failed ? 1 : 0);
};
