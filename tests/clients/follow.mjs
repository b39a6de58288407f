// follow.js where everything is at hand: follow.mjs [NAME]. Or by chance: follow.mjs SEED COUNT.
import assert from "node:assert/strict";
import { run } from "./begin.mjs";
import { Browser, chance, Time } from "./fakes.mjs";
import { Runs } from "./runs_server.mjs";

const begin = (seed = 7) => {
  const time = new Time(), random = chance(seed), server = new Runs();
  const browser = new Browser(time, random, server, 2), scope = browser.page();
  const open = (options = {}) => {
    const page = { texts: [], events: [], said: [], text: "" };
    const followed = page.followed = scope.exported.follow("/follow?a=b", (data, event) => {
      page.texts.push(data);
      page.events.push(event);
      page.text += data;
    }, { parse: "text", ...options });
    for (const name of ["status", "progress", "restart", "gap", "disconnect"])
      followed.on(name, (value) => {
        page.said.push([name, name == "status" ? value.status : value]);
        if (name == "restart") page.text = "";
      });
    if (!options.silent)
      followed.on("error", (error) => page.said.push(["error", error.message]));
    followed.ended.then((end) => page.end = end, (error) => page.error = error);
    page.statuses = () => page.said.filter(([name]) => name == "status").map(([, said]) => said);
    return page;
  };
  return { time, server, browser, scope, open, pass: (wait = 100) => time.pass(wait) };
};

// A page that follows a run from its beginning. The run has no event yet.
const opened = async (options) => {
  const all = begin();
  all.server.begin();
  const page = all.open(options);
  await all.pass();
  return { ...all, page };
};

const END = { run: "r1", key: "k1", status: "done", attempt: 1, text: "" };
const MINUTE = 60e3;

const cases = {
  async a_page_gets_the_events_the_statuses_and_the_end() {
    const { server, page, pass } = await opened();
    server.write("Hel");
    server.write("lo", " ", "world");
    await pass();
    assert.deepEqual(page.texts, ["Hel", "lo", " ", "world"]);
    assert.deepEqual(page.events[0], { type: "message", data: "Hel", id: page.events[0].id });
    assert.equal(page.end, undefined);
    server.turn("done");
    await pass();
    assert.deepEqual(page.end, END);
    assert.deepEqual(page.statuses(), ["queued", "running", "done"]);
    await pass(MINUTE);
    assert.deepEqual([server.asked.length, server.fetched, server.open], [1, 0, 0]);
    assert.deepEqual(server.asked[0], { a: "b", visible: "1" });
  },

  async a_follow_of_nothing_ends_with_null() {
    const { server, open, pass, scope } = begin(), page = open();
    await pass(MINUTE);
    assert.deepEqual([page.end, page.said, page.error], [null, [], undefined]);
    assert.deepEqual([server.asked.length, server.fetched, scope.said], [1, 1, []]);
  },

  async each_end_is_the_end_with_its_text() {
    for (const status of ["failed", "stopped", "lost"]) {
      const { server, page, pass } = await opened();
      server.turn("stopping");
      await pass();
      assert.equal(page.end, undefined);
      server.turn(status, "Row 3 is empty.");
      await pass(MINUTE);
      assert.deepEqual(page.end, { ...END, status, text: "Row 3 is empty." });
      assert.equal(server.asked.length, 1);
    }
  },

  async the_page_has_the_last_status_when_the_run_has_ended() {
    const { server, open, pass } = begin();
    server.begin();
    const page = open();
    let had;
    page.followed.ended.then(() => had = page.statuses().at(-1));
    await pass();
    server.turn("done");
    await pass();
    assert.equal(had, "done");
  },

  async a_cut_connection_resumes_where_it_was() {
    const { server, page, pass } = await opened();
    server.write("a", "b", "c");
    await pass();
    server.cut();
    server.write("d");
    await pass(9e3);
    server.snap();
    server.write("e");
    server.turn("done");
    await pass(MINUTE);
    assert.deepEqual(page.texts, [..."abcde"]);
    assert.deepEqual([page.end, server.asked.length], [END, 3]);
    assert.equal(server.asked[1].last_event_id, page.events[2].id);
  },

  async a_connection_that_is_cut_within_a_row_gets_the_rest_of_it() {
    const { server, page, pass } = await opened();
    server.write(..."abcdefgh");
    while (!page.texts.length) await pass(0.01);
    server.snap();
    assert.ok(page.texts.length < 8, "the cut comes too late");
    await pass(MINUTE);
    assert.deepEqual(page.texts, [..."abcdefgh"]);
  },

  async another_attempt_is_a_restart_before_its_first_event() {
    const { server, page, pass } = await opened();
    server.write("old");
    await pass();
    server.snap();
    server.turn("lost");
    server.again();
    server.write("new");
    server.turn("done");
    server.now.status = "running";
    await pass(MINUTE);
    assert.deepEqual(page.end, { ...END, attempt: 2 });
    const names = page.said.map(([name, said]) => name == "status" ? said : name);
    assert.deepEqual(names, ["queued", "running", "restart", "running", "done"]);
    assert.equal(page.text, "new");
  },

  async the_same_run_in_a_store_that_has_lost_it_is_a_restart() {
    const { server, page, pass } = await opened();
    server.write("old");
    await pass();
    server.lose();
    server.begin();
    server.write("new");
    await pass(MINUTE);
    assert.equal(page.text, "new");
    assert.deepEqual(page.said.map(([name]) => name).filter((name) => name != "status"), ["gap", "restart"]);
    server.turn("done");
    await pass();
    assert.deepEqual(page.end, END);
  },

  async a_run_that_the_store_has_lost_ends_with_a_gap_and_null() {
    const { server, page, pass } = await opened();
    server.lose();
    await pass(MINUTE);
    assert.deepEqual([page.said.at(-1)[1].reason, page.end], ["restarted", null]);
  },

  async a_run_whose_beginning_is_gone_has_a_gap() {
    const { server, open, pass } = begin();
    server.begin();
    server.write("a");
    server.write("b");
    server.trim(1);
    const page = open();
    await pass();
    assert.deepEqual([page.texts, page.said[0][0], page.said[0][1].reason], [["b"], "gap", "trimmed"]);
  },

  async progress_is_reported() {
    const { server, page, pass } = await opened();
    server.progress(1, 3, "importing");
    await pass();
    assert.deepEqual(page.said.at(-1), ["progress", { done: 1, total: 3, text: "importing" }]);
  },

  async the_callback_gets_the_types_that_it_asks_for() {
    const { server, page, pass } = await opened({ types: ["token", "progress"] });
    server.write("not this");
    server.say("token", "a");
    server.say("progress", "an app's own");
    await pass();
    assert.deepEqual(page.events.map(({ type }) => type), ["token", "progress"]);
    assert.ok(!page.said.some(([name]) => name == "progress"));
  },

  async data_is_json_unless_it_is_text() {
    const { server, page, pass } = await opened({ parse: undefined });
    server.write('{"a":1}', "no", "2");
    await pass();
    assert.deepEqual(page.texts, [{ a: 1 }, 2]);
    assert.match(page.said.at(-1)[1], /^not JSON/);
  },

  async errors_and_gaps_are_in_the_console_if_nothing_else_has_them() {
    const { server, scope, pass } = begin();
    server.begin();
    const followed = scope.exported.follow("/follow", null);
    await pass();
    server.write("no");
    server.lose();
    await pass();
    const [error, gap] = scope.said;
    assert.match(error, /^error SyntaxError: not JSON/);
    assert.match(gap, /^gap /);
    followed.close();
  },

  async an_error_of_a_callback_stops_nothing() {
    const { server, scope, pass } = begin(), got = [];
    server.begin();
    const followed = scope.exported.follow("/follow", (data) => {
      got.push(data);
      throw new Error("mine");
    });
    followed.on("status", () => { throw new Error("mine, too"); });
    await pass();
    server.write("1", "2");
    server.turn("done");
    await pass();
    assert.deepEqual([got, (await followed.ended).status], [[1, 2], "done"]);
    assert.deepEqual(scope.said.filter((said) => /Error: mine$/.test(said)).length, 2);
  },

  async a_refusal_that_stays_is_an_error_with_its_status() {
    for (const status of [400, 401, 403, 404, 405, 413, 414, 431]) {
      const { server, open, pass } = begin();
      Object.assign(server, { status });
      const page = open();
      await pass(MINUTE);
      assert.deepEqual([page.error.status, page.error.message], [status, `the view answered ${status}`]);
      assert.deepEqual([page.end, server.asked.length, server.fetched], [undefined, 1, 1]);
    }
  },

  async a_page_in_place_of_the_stream_is_an_error_that_says_so() {
    const headers = new Map([["Content-Type", "text/html"]]);
    for (const [more, message] of [
      [{}, "the view returned no stream"],
      [{ redirected: true, url: "http://localhost/login" }, "redirected to http://localhost/login"],
    ]) {
      const { server, open, pass } = begin();
      Object.assign(server, { status: 200, answers: { headers, ...more } });
      const page = open();
      await pass(MINUTE);
      assert.deepEqual([page.error.message, server.asked.length], [message, 1]);
    }
  },

  async a_refusal_that_passes_is_tried_again_from_the_position() {
    for (const status of [408, 409, 429, 500, 502, 503]) {
      const { server, page, pass } = await opened();
      server.write("a");
      await pass();
      server.status = status;
      server.cut();
      await pass(MINUTE);
      assert.ok(server.fetched > 1 && !page.error);
      server.status = 0;
      server.write("b");
      server.turn("done");
      await pass(2 * MINUTE);
      assert.deepEqual([page.texts, page.end], [["a", "b"], END]);
      assert.equal(server.asked.at(-1).last_event_id, page.events[0].id);
    }
  },

  async a_server_that_says_when_is_not_asked_before() {
    const { server, open, pass } = begin();
    const get = (name) => name == "Retry-After" ? "40" : "text/html";
    Object.assign(server, { status: 503, answers: { headers: { get } } });
    const page = open();
    await pass(39e3);
    assert.equal(server.asked.length, 1);
    server.status = 0;
    await pass(2e3);
    assert.deepEqual([server.asked.length, page.end], [2, null]);
  },

  async a_server_that_is_down_is_asked_less_and_less_often_and_found_again() {
    const { server, page, pass } = await opened();
    server.up = false;
    server.snap();
    await pass(10 * MINUTE);
    const { length } = server.asked;
    assert.ok(length > 10 && length < 90, `${length} attempts`);
    server.up = true;
    server.turn("done");
    await pass(MINUTE);
    assert.deepEqual(page.end, END);
  },

  async the_wait_is_never_shorter_than_the_servers_retry() {
    const { server, open, pass } = begin();
    Object.assign(server, { retry: 20e3 });
    server.begin();
    open();
    await pass();
    server.cut();
    await pass(19e3);
    assert.equal(server.asked.length, 1);
    await pass(2e3);
    assert.equal(server.asked.length, 2);
  },

  async a_connection_that_falls_silent_is_replaced() {
    const { server, page, pass } = await opened();
    server.heartbeat(5);
    await pass();
    server.hang();
    server.write("a");
    await pass(9e3);
    assert.equal(server.asked.length, 1);
    await pass(8e3);
    assert.deepEqual([page.texts, server.asked.length], [["a"], 2]);
  },

  async heartbeats_keep_a_connection() {
    const { server, open, pass } = begin();
    server.begin();
    open();
    await pass();
    for (let n = 0; n < 20; n++) {
      server.heartbeat(5);
      await pass(9e3);
    }
    assert.equal(server.asked.length, 1);
  },

  async a_run_is_polled_where_a_proxy_holds_streams_back() {
    const { server, open, pass } = begin();
    server.held = true;
    server.begin();
    server.write("a");
    const page = open();
    await pass(MINUTE);
    assert.deepEqual(page.texts, ["a"]);
    server.write("b");
    server.turn("done");
    await pass(MINUTE);
    assert.deepEqual([page.texts, page.end], [["a", "b"], END]);
  },

  async a_page_that_is_set_aside_has_no_stream_and_misses_nothing() {
    const { server, browser, scope, page, pass } = await opened();
    server.write("a");
    await pass();
    browser.hide(scope, true);
    await pass(MINUTE);
    assert.equal(server.open, 0);
    server.write("b");
    browser.show(scope);
    await pass();
    server.turn("done");
    await pass();
    assert.deepEqual([page.texts, page.end, server.asked.length], [["a", "b"], END, 2]);
  },

  async a_page_that_is_shown_again_follows_no_run_that_has_ended() {
    const { server, browser, scope, open, pass } = begin(), { listening } = scope;
    server.begin();
    open();
    await pass();
    server.turn("done");
    await pass();
    browser.hide(scope, true);
    browser.show(scope);
    await pass(MINUTE);
    assert.deepEqual([server.asked.length, scope.listening], [1, listening]);
  },

  async close_ends_the_stream_and_nothing_follows() {
    const { server, scope, open, pass } = begin();
    server.begin();
    const listening = scope.listening, page = open();
    await pass();
    page.followed.close();
    server.write("a");
    server.turn("done");
    await pass(MINUTE);
    assert.deepEqual([page.texts, page.end, page.error], [[], undefined, undefined]);
    assert.deepEqual([server.open, server.asked.length, scope.listening], [0, 1, listening]);
  },

  async close_ends_a_wait_and_a_question() {
    for (let wait = 0; wait < 30; wait++) {
      const { server, open, pass } = begin();
      server.status = 503;
      const page = open();
      await pass(wait);
      page.followed.close();
      const { length } = server.asked;
      await pass(MINUTE);
      assert.equal(server.asked.length, length);
      assert.deepEqual([page.end, page.error], [undefined, undefined]);
    }
  },

  async a_stream_that_the_app_ends_asks_the_view_again() {
    const { server, page, pass } = await opened();
    server.status = 403;
    server.disconnect("logged out");
    await pass(MINUTE);
    assert.deepEqual(page.said.at(-1), ["disconnect", { reason: "logged out" }]);
    assert.equal(page.error.status, 403);
  },

  async what_does_not_exist_is_an_error_at_once() {
    const { scope } = begin(), { follow } = scope.exported;
    assert.throws(() => follow("/follow", null, { parse: "xml" }), /there is no xml/);
    assert.throws(() => follow("/follow", null, { since: "x" }), /there is no since/);
    const followed = follow("/follow");
    assert.throws(() => followed.on("end", () => {}), /there is no end/);
    followed.close();
  },

  async a_callback_can_be_taken_off() {
    const { server, scope, pass } = begin(), got = [];
    server.begin();
    const followed = scope.exported.follow("/follow"), off = followed.on("status", () => got.push(1));
    await pass();
    off();
    server.turn("done");
    await pass();
    assert.equal(got.length, 2);
  },
};

/** A run to its end, with all that can happen. The page has all of its newest attempt. */
const story = async (seed) => {
  const { server, browser, scope, open, pass } = begin(seed), by = chance(seed + 1);
  server.begin();
  const page = open();
  const doings = [
    () => server.write(...Array(1 + by.below(5)).fill().map(() => `${by.below(100)} `)),
    () => server.write(`${by.below(100)} `),
    () => server.cut(),
    () => server.snap(),
    () => server.hang(),
    () => server.progress(by.below(9)),
    () => server.status = by.of([0, 502, 503]),
    () => server.up = !server.up,
    () => server.held = !server.held,
    () => browser.hide(scope, true),
    () => browser.show(scope),
    () => {
      server.turn("lost");
      server.again();
    },
  ];
  for (let n = 20 + by.below(40); n; n--) {
    by.of(doings)();
    await pass(by.of([0, 0, 1, 3, 20, 2e3, 3e4]));
  }
  Object.assign(server, { status: 0, up: true });
  browser.show(scope);
  await pass(3 * MINUTE);
  const ended = page.end?.status;
  if (ended != "lost") {
    server.write("the last");
    server.turn("done");
    await pass(3 * MINUTE);
    assert.equal(page.end?.status, "done", `${seed}`);
    assert.equal(page.text, server.whole.join(""), `${seed}`);
  }
  assert.equal(page.statuses().filter((said) => said == ended || said == "done").length, 1);
  assert.ok(!page.said.some(([name]) => name == "gap" || name == "error") && !page.error);
};

const [first, count] = process.argv.slice(2).map(Number);
if (count) for (let seed = first; seed < first + count; seed++) await story(seed);
else await run(cases);
