// push.items where everything is at hand, as in cases.mjs: items.mjs [NAME].
import assert from "node:assert/strict";
import { begin, run, WAYS } from "./begin.mjs";

/** Two items, and a page that has both. */
const both = async (given = {}, options = {}) => {
  const all = begin(options);
  all.server.set("a", "x", 1);
  all.server.set("a", "y", 2);
  const page = all.open(given);
  return { ...all, page, calls: page.items("a") };
};

const cases = {
  async a_page_gets_all_items_at_once_and_then_each_change() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      assert.deepEqual(calls, [[{ x: 1, y: 2 }, ["x", "y"]]]);
      server.set("a", "x", 3);
      await pass();
      server.set("a", "y");
      server.set("b", "x", "another channel's");
      await pass();
      assert.deepEqual(calls.slice(1), [[{ x: 3, y: 2 }, ["x"]], [{ x: 3 }, ["y"]]]);
      assert.deepEqual([page.errors, page.gaps, server.asked.length], [[], [], 1]);
    }
  },

  async a_channel_without_items_has_an_empty_map() {
    for (const share of WAYS) {
      const { server, open, pass } = begin(), page = open({ share }), calls = page.items("a");
      await pass();
      assert.deepEqual(calls, [[{}, []]]);
      server.set("a", "x", 1);
      server.publish("a", "no item");
      server.say("a", "{not JSON");
      await pass();
      assert.deepEqual(calls.slice(1), [[{ x: 1 }, ["x"]]]);
      assert.deepEqual([page.errors, page.scope.said], [[], []]);
    }
  },

  async names_of_items_may_have_any_letters() {
    const { server, open, pass } = begin(), page = open({ share: false });
    server.set("a", "a.b ~ü", 1);
    const calls = page.items("a");
    await pass();
    server.set("a", "a.b ~ü");
    server.set("a", "__proto__", null);
    await pass();
    assert.deepEqual(calls[0], [{ "a.b ~ü": 1 }, ["a.b ~ü"]]);
    assert.deepEqual([...calls.items], [["__proto__", null]]);
  },

  async a_later_callback_gets_the_items_at_once_without_a_request() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      const later = page.items("a");
      await pass(0);
      assert.deepEqual(later, [[{ x: 1, y: 2 }, ["x", "y"]]]);
      server.set("a", "x", 3);
      await pass();
      assert.deepEqual([calls.length, later.length, server.asked.length], [2, 2, 1]);
      calls.end();
      server.set("a", "x", 4);
      await pass();
      assert.deepEqual([calls.length, later.at(-1)], [2, [{ x: 4, y: 2 }, ["x"]]]);
    }
  },

  async a_page_that_comes_later_gets_all_items_too() {
    for (const share of [true, "lock"]) {
      const { server, open, calls, pass } = await both({ share });
      await pass();
      server.set("a", "x", 3);
      await pass();
      const later = open({ share }).items("a");
      await pass();
      assert.deepEqual(later, [[{ x: 3, y: 2 }, ["x", "y"]]]);
      assert.deepEqual(calls.length, 2, "nothing has changed for the first page");
      server.set("a", "y");
      await pass();
      assert.deepEqual([calls.at(-1), later.at(-1)], Array(2).fill([{ x: 3 }, ["y"]]));
      assert.deepEqual(server.asked.map(({ holds }) => holds), [null, null]);
    }
  },

  async a_new_channel_makes_the_stream_ask_again() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      server.set("b", "z", 5);
      const other = page.items("b");
      await pass();
      assert.deepEqual(other, [[{ z: 5 }, ["z"]]]);
      assert.deepEqual([calls.length, server.asked.length], [1, 2]);
    }
  },

  async items_of_a_channel_that_is_already_read_are_asked_for() {
    for (const share of WAYS) {
      const { server, open, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      server.set("a", "x", 1);
      await pass();
      const calls = page.items("a");
      await pass();
      assert.deepEqual(calls, [[{ x: 1 }, ["x"]]]);
      assert.deepEqual(page.heard, [1]);
    }
  },

  async subscriptions_get_each_change_as_an_event_and_nothing_that_is_repeated() {
    for (const share of WAYS) {
      const { server, open, pass } = begin(), page = open({ share }), events = [];
      server.set("a", "x", 1);
      const one = page.push.subscribe("a", (_, { item, data }) => events.push([item, data]));
      one.on("push:unset", ({ item }) => events.push([item]));
      await pass();
      server.set("a", "x", 2);
      server.publish("a", "no item");
      server.set("a", "x");
      await pass();
      const all = [["x", 2], [undefined, "no item"], ["x"]];
      assert.deepEqual(events, all);
      server.set("a", "x", 3);
      await pass();
      server.repeat();
      await pass();
      assert.deepEqual(events, [...all, ["x", 3]]);
    }
  },

  async after_a_cut_a_page_that_has_all_items_gets_changes_only() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      server.up = false;
      server.cut();
      await pass(1e3);
      server.set("a", "y");
      server.set("a", "x", 3);
      server.up = true;
      await pass(60e3);
      assert.deepEqual(calls.at(-1), [{ x: 3 }, ["x"]]);
      assert.equal(calls.length, 3);
      assert.deepEqual([server.asked.at(-1).holds, page.gaps], ["aaaaa a", []]);
    }
  },

  async after_a_server_of_an_older_version_a_page_gets_all_items_again() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      page.subscribe("a");
      await pass();
      server.old = true;
      server.cut();
      await pass(5e3);
      server.set("a", "y");
      server.set("a", "x", 3);
      // The page's position is newer than changes that it does not have.
      server.publish("a", "no item");
      await pass();
      assert.equal(calls.length, 1);
      server.old = false;
      server.cut();
      await pass(5e3);
      assert.deepEqual(calls.slice(1), [[{ x: 3 }, ["x", "y"]]]);
      server.cut();
      await pass(5e3);
      const held = server.asked.map(({ holds }) => holds);
      assert.deepEqual(held, [null, "aaaaa a", null, "aaaaa a"]);
      assert.deepEqual([page.heard, page.errors, page.gaps], [["no item"], [], []]);
    }
  },

  async a_push_open_that_is_repeated_leaves_the_items_as_they_are() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      // It is repeated on a connection that began with all items, and on one with changes.
      for (let n = 0; n < 2; n++) {
        server.reopen();
        server.cut();
        server.set("a", "x", 3 + n);
        await pass(5e3);
      }
      assert.deepEqual(calls.slice(1), [[{ x: 3, y: 2 }, ["x"]], [{ x: 4, y: 2 }, ["x"]]]);
      assert.deepEqual(server.asked.map(({ holds }) => holds), [null, "aaaaa a", "aaaaa a"]);
      assert.deepEqual([page.errors, page.gaps], [[], []]);
    }
  },

  async a_page_that_was_cut_off_amid_all_items_gets_all_again() {
    for (const share of WAYS) {
      for (let wait = 0; wait < 40; wait += 0.5) {
        const { server, calls, pass } = await both({ share });
        for (let n = 0; n < 10; n++) server.set("a", `${n}`, n);
        await pass(wait);
        server.snap();
        server.set("a", "x");
        server.set("a", "3", "three");
        await pass(60e3);
        const expected = { y: 2, ...Object.fromEntries([...Array(10).keys()].entries()), 3: "three" };
        assert.deepEqual(calls.at(-1)[0], expected);
        for (const [items] of calls) assert.ok(Object.keys(items).length >= 11, "in part");
      }
    }
  },

  async a_page_without_all_items_does_not_say_that_it_has_them() {
    for (const share of WAYS) {
      const { server, open, pass } = begin(), page = open({ share });
      for (let n = 0; n < 200; n++) server.set("a", `${n}`, n);
      let arrived = 0;
      page.push.subscribe("a").on("push:items", () => arrived++);
      page.items("a");
      await pass();
      server.repeat();
      while (arrived < 2) await pass(0.01);
      server.snap();
      await pass(5e3);
      assert.deepEqual(server.asked.map(({ holds }) => holds), [null, null]);
    }
  },

  async the_old_items_stay_until_the_new_ones_are_whole() {
    for (const share of WAYS) {
      const { server, calls, pass } = await both({ share });
      await pass();
      server.up = false;
      server.cut();
      server.set("a", "x");
      server.forgetUnsets("a");
      server.set("a", "z", 3);
      server.up = true;
      await pass(60e3);
      assert.deepEqual(calls.slice(1), [[{ y: 2, z: 3 }, ["x", "z"]]]);
    }
  },

  async all_items_that_come_again_change_nothing() {
    for (const share of WAYS) {
      const { server, calls, pass } = await both({ share });
      await pass();
      server.repeat();
      await pass();
      assert.equal(calls.length, 1);
      server.set("a", "x", 3);
      await pass();
      assert.deepEqual(calls.slice(1), [[{ x: 3, y: 2 }, ["x"]]]);
    }
  },

  async items_of_a_new_epoch_replace_all() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      server.restart();
      await pass();
      server.set("a", "x", "new");
      await pass();
      assert.deepEqual(calls.slice(1), [[{}, ["x", "y"]], [{ x: "new" }, ["x"]]]);
      assert.deepEqual(page.gaps, [], "there are none for items");
      server.up = false;
      server.cut();
      server.restart(true);
      server.up = true;
      await pass(60e3);
      assert.equal(calls.length, 3);
    }
  },

  async a_page_from_the_back_forward_cache_has_what_changed_meanwhile() {
    for (const share of WAYS) {
      const { server, browser, page, calls, pass } = await both({ share });
      await pass();
      browser.hide(page.scope, true);
      await pass();
      server.set("a", "x");
      server.set("a", "z", 3);
      browser.show(page.scope);
      await pass();
      assert.deepEqual(calls.slice(1), [[{ y: 2, z: 3 }, ["x", "z"]]]);
    }
  },

  async a_page_that_left_amid_all_items_has_none_of_them() {
    for (let seed = 0; seed < 200; seed++) {
      const { server, browser, open, pass } = await both({ share: "lock" }, { seed, latency: 20 });
      for (let n = 0; n < 50; n++) server.set("a", `${n}`, n);
      const [other, back] = [open({ share: "lock" }), open({ share: "lock" })];
      const calls = back.items("a");
      await pass(1e3);
      server.repeat();
      await pass(8);
      browser.hide(back.scope, true);
      // Each page is told where the line is.
      other.subscribe("a");
      await pass(8);
      browser.show(back.scope);
      await pass(1e3);
      assert.deepEqual(calls.map(([items]) => Object.keys(items).length), [52], seed);
    }
  },

  async when_the_page_with_the_connection_closes_the_others_go_on() {
    for (const share of [true, "lock"]) {
      const { server, open, page, pass } = await both({ share });
      await pass();
      const other = open({ share }).items("a");
      await pass();
      page.push.close();
      server.set("a", "x", 3);
      await pass(30e3);
      server.set("a", "y");
      await pass();
      assert.deepEqual(other.at(-1), [{ x: 3 }, ["y"]]);
      assert.equal(other.length, 3);
    }
  },

  async what_is_ended_or_closed_gets_nothing_more() {
    for (const share of WAYS) {
      const { server, page, calls, pass } = await both({ share });
      await pass();
      calls.end();
      calls.end();
      server.set("a", "x", 3);
      await pass();
      assert.deepEqual([calls.length, page.push.state], [1, "closed"]);
      const again = page.items("a");
      await pass();
      assert.deepEqual(again, [[{ x: 3, y: 2 }, ["x", "y"]]]);
      page.push.subscribe("a", () => page.push.close());
      server.set("a", "x", 4);
      await pass();
      page.items("a");
      await pass(60e3);
      assert.deepEqual([again.length, page.push.state], [1, "closed"]);
    }
  },

  async a_disconnect_and_a_refusal_leave_the_items_as_they_are() {
    for (const share of WAYS) {
      const { server, open, page, calls, pass } = await both({ share });
      await pass();
      server.disconnect("");
      server.set("a", "x", 3);
      await pass(5e3);
      assert.deepEqual(calls.at(-1), [{ x: 3, y: 2 }, ["x"]]);
      server.status = 403;
      server.disconnect("");
      await pass(5e3);
      assert.deepEqual([page.push.state, calls.length], ["closed", 2]);
      server.status = 0;
      server.set("a", "y");
      const other = (share ? open({ share }) : page).items("b");
      await pass(5e3);
      assert.deepEqual([calls.at(-1), other], [[{ x: 3 }, ["y"]], [[{}, []]]]);
    }
  },

  async a_page_whose_stream_was_refused_goes_on_with_its_items() {
    for (const share of [true, "lock"]) {
      const { server, open, calls, pass } = await both({ share });
      await pass();
      server.status = 403;
      server.cut();
      await pass(5e3);
      server.status = 0;
      server.set("a", "x", 3);
      open({ share }).subscribe("a");
      await pass(5e3);
      server.set("a", "y");
      await pass();
      assert.deepEqual(calls.at(-1), [{ x: 3 }, ["y"]]);
    }
  },

  async items_of_other_types_come_if_the_types_are_named() {
    for (const share of WAYS) {
      const { server, open, calls, page, pass } = await both({ share });
      server.set("a", "z", 3, { type: "quote" });
      await pass();
      assert.deepEqual(calls, [[{ x: 1, y: 2 }, ["x", "y"]]]);
      const pages = [page, open({ share })];
      const all = pages.map((page) => page.items("a", { types: ["message", "quote"] }));
      await pass();
      for (const one of all) assert.deepEqual(one, [[{ x: 1, y: 2, z: 3 }, ["x", "y", "z"]]]);
      server.set("a", "z", 4, { type: "quote" });
      await pass();
      assert.deepEqual([all[0].at(-1), calls.length], [[{ x: 1, y: 2, z: 4 }, ["z"]], 1]);
    }
  },

  async data_that_is_not_json_is_an_error_and_no_item() {
    const { server, page, calls, pass } = await both({ share: false });
    await pass();
    server.set("a", "x", null, { text: "{not JSON" });
    await pass();
    assert.deepEqual(calls.at(-1), [{ y: 2 }, ["x"]]);
    assert.match(page.errors[0], /^not JSON on a: /);
    const text = page.items("a", { parse: "text" });
    await pass();
    assert.deepEqual(text, [[{ x: "{not JSON", y: "2" }, ["x", "y"]]]);
  },

  async wrong_arguments_are_errors() {
    const { server, open, pass } = begin(), page = open({ share: false });
    assert.throws(() => page.items(""), { name: "TypeError" });
    assert.throws(() => page.items("a", { parse: "xml" }), { name: "TypeError" });
    page.items("a", { type: "quote" });
    server.denied.push("b");
    const calls = page.items("b");
    await pass();
    assert.deepEqual(page.errors, ["there is no type", "the view does not grant b"]);
    assert.deepEqual(calls, []);
  },

  async a_page_that_polls_gets_changes_only() {
    const { server, page, calls, pass } = await both({ share: false, silence: 1e3 });
    const { accept } = server;
    // A proxy holds back each stream that does not end.
    server.accept = (source) => new URL(source.url).searchParams.get("poll") && accept.call(server, source);
    await pass(20e3);
    assert.equal(page.push.reason.polling, true);
    server.set("a", "x", 3);
    await pass(30e3);
    server.set("a", "y");
    await pass(30e3);
    assert.deepEqual(calls, [
      [{ x: 1, y: 2 }, ["x", "y"]], [{ x: 3, y: 2 }, ["x"]], [{ x: 3 }, ["y"]],
    ]);
    const held = server.asked.map(({ holds }) => holds);
    assert.deepEqual([...new Set(held)], [null, "aaaaa a"]);
    assert.equal(held.filter((one) => !one).length, 1);
  },

  async a_callback_that_throws_is_reported_and_the_others_are_called() {
    const { page, pass } = await both({ share: false });
    page.push.items("a", () => { throw new Error("mine"); });
    const calls = page.items("a");
    await pass();
    assert.deepEqual(calls, [[{ x: 1, y: 2 }, ["x", "y"]]]);
    assert.deepEqual(page.scope.said, ["Error: mine"]);
  },

  async a_hub_that_is_behind_makes_no_item_older() {
    const { server, browser, page, calls, pass } = await both({ share: false });
    const since = server.position;
    await pass();
    server.set("a", "x", 3);
    await pass();
    // The next hub reads the store later, and the page goes back for another subscription.
    const { rows } = server, { position } = server;
    server.accept = (source) => {
      source.open();
      source.channels = ["a"];
      const say = (type, data, id) => source.say(type, JSON.stringify(data), id);
      say("push:open", { connection: "n.s", channels: ["a"], items: "all" }, since);
      say("push:items", { channels: ["a"] });
      say("message", 1, `${since}.a.x.1`);
      say("message", 2, `${since}.a.y.2`);
      say("push:whole", { channels: ["a"], holds: "w" }, since);
      source.say("message", "3", `${position}.a.x`);
      source.say("message", "4", `${position}0.a.z`);
    };
    page.subscribe("a", { since });
    page.items("a", { types: ["message", "other"] });
    await pass();
    assert.ok(rows && browser);
    assert.deepEqual(calls.slice(2), [[{ x: 3, y: 2, z: 4 }, ["z"]]]);
  },

  async push_js_alone_says_which_script_has_items() {
    const { browser } = begin(), scope = browser.page();
    const push = scope.exported.connect("/stream", { share: false });
    assert.equal(typeof push.items, "function");
    const alone = browser.page({ items: false }).exported.connect("/stream", { share: false });
    assert.throws(() => alone.items("a"), /items\.js/);
  },
};

await run(cases);
