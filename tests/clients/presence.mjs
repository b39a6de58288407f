// push.presence where everything is at hand, as in cases.mjs: presence.mjs [NAME].
import assert from "node:assert/strict";
import { begin, run, WAYS } from "./begin.mjs";

const ANN = { name: "Ann" };
const BEN = { name: "Ben" };

/** Ann is present on a channel, and a page watches it. */
const watched = async (given = {}, options = {}) => {
  const all = begin(options);
  all.server.watch = ["a", "b"];
  all.server.join("a", "ann", ANN);
  const page = all.open(given);
  return { ...all, page, calls: page.presence("a") };
};
const FIRST = [{ ann: ANN }, [], [], 1];

const cases = {
  async a_page_gets_all_members_at_once_and_then_who_joins_and_leaves() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      await pass();
      assert.deepEqual(calls, [FIRST]);
      server.join("a", "ben", BEN);
      await pass();
      server.leave("a", "ann");
      server.join("b", "another channel's", {});
      await pass();
      assert.deepEqual(calls.slice(1), [
        [{ ann: ANN, ben: BEN }, ["ben"], [], 2], [{ ben: BEN }, [], ["ann"], 1],
      ]);
      assert.deepEqual([page.errors, page.gaps, page.scope.said, server.asked.length], [[], [], [], 1]);
    }
  },

  async a_member_who_joins_or_leaves_comes_with_the_info() {
    const { server, page, pass } = await watched({ share: false }), found = [];
    page.push.presence("a", (members, { joined, left }) => found.push([...joined, ...left]));
    await pass();
    server.join("a", "ben", BEN);
    await pass();
    server.leave("a", "ben");
    await pass();
    const ben = { user: "ben", info: BEN };
    assert.deepEqual(found, [[], [ben], [ben]]);
  },

  async a_channel_without_members_has_an_empty_map() {
    for (const share of WAYS) {
      const { server, open, pass } = begin();
      server.watch = ["a"];
      const calls = open({ share }).presence("a");
      await pass();
      assert.deepEqual(calls, [[{}, [], [], 0]]);
      server.join("a", "ann", null);
      await pass();
      assert.deepEqual(calls.slice(1), [[{ ann: null }, ["ann"], [], 1]]);
    }
  },

  async another_info_of_a_member_neither_joins_nor_leaves() {
    for (const share of WAYS) {
      const { server, calls, pass } = await watched({ share });
      await pass();
      const { members } = calls;
      server.join("a", "ann", { name: "Anna" });
      await pass();
      assert.deepEqual(calls.slice(1), [[{ ann: { name: "Anna" } }, [], [], 1]]);
      assert.equal(calls.members, members, "it stays the same Map");
    }
  },

  async users_who_are_counted_are_in_the_count_only() {
    for (const share of WAYS) {
      const { server, calls, pass } = await watched({ share });
      server.count("a", 3000);
      await pass();
      assert.deepEqual(calls, [[{ ann: ANN }, [], [], 3001]]);
      server.count("a", 3001);
      await pass();
      server.leave("a", "ann");
      await pass();
      server.count("a", 0);
      await pass();
      assert.deepEqual(calls.slice(1), [
        [{ ann: ANN }, [], [], 3002], [{}, [], ["ann"], 3001], [{}, [], [], 0],
      ]);
    }
  },

  async a_user_may_have_any_name() {
    const { server, calls, pass } = await watched({ share: false });
    const names = ["-", "7", "a.b ~ü", "__proto__"];
    server.count("a", 5);
    for (const name of names) server.join("a", name, name);
    await pass();
    assert.deepEqual([...calls.members.keys()].sort(), [...names, "ann"].sort());
    assert.equal(calls.at(-1)[3], 10);
    for (const name of names) server.leave("a", name);
    await pass();
    assert.deepEqual([...calls.members.keys(), calls.at(-1)[3]], ["ann", 6]);
  },

  async a_later_callback_gets_all_members_at_once_without_a_request() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      await pass();
      const later = page.presence("a");
      await pass(0);
      assert.deepEqual(later, [FIRST]);
      server.join("a", "ben", BEN);
      await pass();
      assert.deepEqual([calls.at(-1), later.at(-1)], Array(2).fill([{ ann: ANN, ben: BEN }, ["ben"], [], 2]));
      calls.end();
      server.leave("a", "ben");
      await pass();
      assert.deepEqual([calls.length, later.length, server.asked.length], [2, 3, 1]);
    }
  },

  async a_page_that_comes_later_gets_all_members_too() {
    for (const share of [true, "lock"]) {
      const { server, open, calls, pass } = await watched({ share });
      await pass();
      const later = open({ share }).presence("a");
      await pass();
      assert.deepEqual([calls, later], [[FIRST], [FIRST]]);
    }
  },

  async a_channel_may_have_events_and_items_too() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      server.set("a", "ann", 1);
      const items = page.items("a");
      page.subscribe("a");
      await pass();
      server.publish("a", "an event");
      server.leave("a", "ann");
      server.set("a", "ann", 2);
      await pass();
      server.join("a", "ann", ANN);
      server.set("a", "ann");
      await pass();
      assert.deepEqual(calls, [FIRST, [{}, [], ["ann"], 0], [{ ann: ANN }, ["ann"], [], 1]]);
      assert.deepEqual(items, [[{ ann: 1 }, ["ann"]], [{ ann: 2 }, ["ann"]], [{}, ["ann"]]]);
      assert.deepEqual([page.heard, page.errors, page.scope.said], [["an event", 2], [], []]);
    }
  },

  async a_channel_that_the_view_only_lets_watch_is_no_error() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      server.denied.push("a");
      await pass();
      assert.deepEqual([calls, page.errors], [[FIRST], []]);
      server.publish("a", "an event that is not granted");
      server.join("a", "ben", BEN);
      await pass();
      assert.deepEqual([calls.length, page.errors, page.scope.said], [2, [], []]);
    }
  },

  async a_channel_that_the_view_does_not_let_watch_is_an_error_once() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      server.watch = ["b"];
      await pass();
      server.repeat();
      server.cut();
      await pass(5e3);
      const error = "the view does not let this page watch a";
      assert.deepEqual([calls, page.errors], [[], [error]]);
      server.watch = ["a"];
      server.cut();
      await pass(5e3);
      assert.deepEqual([calls, page.errors], [[FIRST], [error]]);
      server.watch = [];
      server.cut();
      await pass(5e3);
      assert.deepEqual([calls, page.errors], [[FIRST], [error, error]], "members stay as they were");
    }
  },

  async after_a_cut_a_page_that_has_all_members_gets_changes_only() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      await pass();
      server.up = false;
      server.cut();
      await pass(1e3);
      server.join("a", "ben", BEN);
      server.leave("a", "ann");
      server.up = true;
      await pass(60e3);
      assert.deepEqual(calls.at(-1)[0], { ben: BEN });
      assert.deepEqual([server.asked.at(-1).holds, page.gaps], ["aaaaa a a", []]);
    }
  },

  async a_page_that_was_cut_off_amid_all_members_gets_all_again() {
    for (const share of WAYS) {
      for (let wait = 0; wait < 40; wait += 1) {
        const { server, calls, pass } = await watched({ share });
        for (let n = 0; n < 10; n++) server.join("a", `${n}`, n);
        await pass(wait);
        server.snap();
        server.leave("a", "ann");
        server.join("a", "ben", BEN);
        await pass(60e3);
        const expected = { ben: BEN, ...Object.fromEntries([...Array(10).keys()].entries()) };
        assert.deepEqual(calls.at(-1)[0], expected);
        for (const [members] of calls) assert.ok(Object.keys(members).length >= 10, "in part");
        assert.deepEqual(calls[0].slice(1, 3), [[], []]);
      }
    }
  },

  async members_who_left_while_the_page_was_away_have_left() {
    for (const share of WAYS) {
      const { server, calls, pass } = await watched({ share });
      server.join("a", "ben", BEN);
      server.count("a", 7);
      await pass();
      server.up = false;
      server.cut();
      server.leave("a", "ben");
      server.forgetUnsets("a");
      server.rows = server.rows.filter(({ kind }) => kind != "count");
      server.join("a", "eve", null);
      server.up = true;
      await pass(60e3);
      assert.deepEqual(calls.slice(1), [[{ ann: ANN, eve: null }, ["eve"], ["ben"], 2]]);
    }
  },

  async all_members_that_come_again_change_nothing() {
    for (const share of WAYS) {
      const { server, calls, pass } = await watched({ share });
      await pass();
      server.repeat();
      server.reopen();
      await pass();
      assert.deepEqual(calls, [FIRST]);
    }
  },

  async members_of_a_new_epoch_replace_all() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      await pass();
      server.restart();
      await pass();
      server.join("a", "ann", ANN);
      await pass();
      assert.deepEqual(calls.slice(1), [[{}, [], ["ann"], 0], [{ ann: ANN }, ["ann"], [], 1]]);
      assert.deepEqual(page.gaps, []);
    }
  },

  async a_server_of_an_older_version_shows_nobody() {
    for (const share of WAYS) {
      const { server, calls, pass } = await watched({ share });
      await pass();
      server.old = true;
      server.cut();
      await pass(5e3);
      server.join("a", "ben", BEN);
      await pass();
      assert.deepEqual(calls, [FIRST]);
      server.old = false;
      server.cut();
      await pass(5e3);
      assert.deepEqual(calls.slice(1), [[{ ann: ANN, ben: BEN }, ["ben"], [], 2]]);
    }
  },

  async what_is_ended_or_closed_gets_nothing_more() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await watched({ share });
      await pass();
      calls.end();
      server.join("a", "ben", BEN);
      await pass();
      assert.deepEqual([calls.length, page.push.state], [1, "closed"]);
      const again = page.presence("a");
      await pass();
      assert.deepEqual(again, [[{ ann: ANN, ben: BEN }, [], [], 2]]);
      page.push.close();
      server.leave("a", "ben");
      await pass(60e3);
      assert.deepEqual([again.length, page.errors], [1, []]);
    }
  },

  async a_page_that_polls_gets_changes_only() {
    const { server, page, calls, pass } = await watched({ share: false, silence: 1e3 });
    const { accept } = server;
    // A proxy holds back each stream that does not end.
    server.accept = (source) => new URL(source.url).searchParams.get("poll") && accept.call(server, source);
    await pass(20e3);
    assert.equal(page.push.reason.polling, true);
    server.join("a", "ben", BEN);
    await pass(30e3);
    assert.deepEqual(calls, [FIRST, [{ ann: ANN, ben: BEN }, ["ben"], [], 2]]);
    assert.equal(server.asked.filter(({ holds }) => !holds).length, 1);
  },

  async changes_in_one_task_are_one_call() {
    const { server, browser, page, pass } = await watched({ share: false }), calls = page.presence("a");
    await pass();
    const [source] = browser.sources;
    const say = (type, user, n) => source.dispatchEvent(Object.assign(new Event(type), {
      data: JSON.stringify({ channel: "a", user, info: null }),
      lastEventId: `${server.position.slice(0, -3)}zz${n}.a.${user}`,
    }));
    say("push:joined", "ben", 1);
    say("push:left", "ben", 2);
    say("push:left", "ann", 3);
    say("push:joined", "eve", 4);
    await pass(0);
    assert.deepEqual(calls, [FIRST, [{ eve: null }, ["eve"], ["ann"], 1]]);
  },

  async a_channel_without_a_name_is_a_type_error() {
    const { open } = begin(), page = open({ share: false });
    assert.throws(() => page.presence(""), { name: "TypeError" });
  },
};

await run(cases);
