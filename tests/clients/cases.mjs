// push.js where everything is at hand: its clock, its storage, the server's words. Each case is
// a function whose name is a sentence: cases.mjs [NAME]. Without a name, it lists them.
import assert from "node:assert/strict";
import { begin, run, WAYS } from "./begin.mjs";

const cases = {
  async a_later_subscription_gets_only_later_events() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass(1e3);
      publish("b", "old", "older");
      await pass(20);
      page.subscribe("b");
      // And before its connection can be there.
      publish("b", "new");
      await pass();
      publish("b", "newer");
      await pass();
      assert.deepEqual(page.heard, ["new", "newer"]);
      assert.equal(server.asked.length, 2);
    }
  },

  async a_later_subscription_to_a_known_channel_makes_no_request() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      publish("a", 1, 2);
      await pass();
      page.subscribe("a");
      publish("a", 3);
      await pass();
      assert.deepEqual(page.heard, [1, 2, 3, 3]);
      assert.equal(server.asked.length, 1);
    }
  },

  async events_during_the_replacement_of_a_connection_reach_every_page() {
    for (const share of WAYS) {
      const { open, publish, pass } = begin(), page = open({ share }), late = [];
      page.subscribe("a");
      await pass();
      page.push.subscribe("b", (data) => late.push(data));
      // The line passes the second before it has its channel.
      publish("a", 1);
      publish("b", 2);
      publish("a", 3);
      await pass();
      assert.deepEqual([page.heard, late], [[1, 3], [2]]);
    }
  },

  async a_second_page_begins_where_the_connection_is() {
    for (const share of [true, "lock"]) {
      const { server, open, publish, pass } = begin(), one = open({ share });
      one.subscribe("a");
      await pass();
      publish("a", ...Array(50).keys());
      await pass();
      const two = open({ share });
      two.subscribe("a");
      await pass();
      assert.equal(server.asked.length, 1);
      // The one that has the line, or began the worker, goes without a word.
      publish("b", "the store goes on");
      one.push.close();
      await pass(2e3);
      publish("a", "new");
      await pass(2e3);
      assert.deepEqual(two.heard, ["new"]);
      assert.equal(server.asked.length, share == "lock" ? 2 : 1);
    }
  },

  async a_page_whose_worker_died_gets_no_event_twice() {
    const { browser, open, publish, pass } = begin(), one = open(), two = open();
    one.subscribe("a");
    two.subscribe("a");
    await pass();
    publish("a", 1);
    await pass();
    browser.crash(one.scope);
    publish("a", 2);
    await pass(30e3);
    publish("a", 3);
    await pass();
    assert.deepEqual(two.heard, [1, 2, 3]);
    assert.deepEqual(two.gaps, []);
  },

  async a_subscription_begins_at_its_own_since() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      const [since] = [server.position];
      publish("a", 1);
      page.subscribe("a");
      await pass();
      publish("a", 2);
      await pass();
      const late = [];
      page.push.subscribe("a", (data) => late.push(data), { since });
      publish("a", 3);
      await pass();
      assert.deepEqual([page.heard, late], [[2, 3], [1, 2, 3]]);
    }
  },

  async the_since_of_a_connection_counts_until_it_is_open() {
    const { server, open, publish, pass } = begin(), since = server.position;
    publish("a", 1);
    const page = open({ since, share: false });
    page.subscribe("a");
    await pass();
    page.subscribe("a");
    publish("a", 2);
    await pass();
    assert.deepEqual(page.heard, [1, 2, 2]);
  },

  async events_before_the_page_s_position_are_not_repeated() {
    const { server, open, publish, pass } = begin(), page = open({ share: false });
    page.subscribe("a");
    await pass();
    // It is on its way, and the page that fetched has it already.
    publish("a", 1);
    const late = [];
    page.push.subscribe("a", (data) => late.push(data), { since: server.position });
    publish("a", 2);
    await pass();
    assert.deepEqual([page.heard, late], [[1, 2], [2]]);
  },

  async a_subscription_during_a_replay_gets_none_of_it() {
    const { time, server, open, publish, pass } = begin();
    const page = open({ since: server.position, share: false }), late = [];
    publish("a", ...Array(50).keys());
    await pass(1e3);
    let push = null;
    const first = page.push.subscribe("a", (data) => {
      page.heard.push(data);
      if (data == 10) push = page.push.subscribe("a", (data) => late.push(data));
    });
    await pass();
    publish("a", "new");
    await pass();
    assert.equal(page.heard.length, 51);
    assert.deepEqual(late, ["new"]);
    assert.ok(first && push && time);
  },

  async a_hub_whose_clock_is_ahead_holds_back_no_new_event() {
    const { server, open, publish, pass } = begin(), page = open({ share: false });
    server.ahead = 5e3;
    page.subscribe("a");
    await pass();
    publish("b", "old");
    await pass();
    page.subscribe("b");
    await pass();
    publish("b", "new");
    await pass();
    assert.deepEqual(page.heard, ["new"]);
  },

  async a_reconnect_gives_a_new_subscription_no_old_events() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      server.up = false;
      server.cut();
      await pass();
      publish("a", "old");
      await pass(60e3);
      const late = [];
      page.push.subscribe("a", (data) => late.push(data));
      publish("a", "new");
      server.up = true;
      await pass(60e3);
      assert.deepEqual([page.heard, late], [["old", "new"], ["new"]]);
    }
  },

  async events_that_are_not_stored_arrive_once_and_leave_nothing_behind() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      publish("a", "kept");
      await pass();
      // All alike, and at one position.
      for (let n = 0; n < 5; n++) server.publish("a", "not kept", { store: false });
      await pass();
      const since = server.position, other = open({ since, share });
      other.subscribe("a");
      page.subscribe("a", { since: "aaaaa-0" });
      await pass();
      server.publish("a", "not kept", { store: false });
      await pass();
      const expected = ["kept", ...Array(5).fill("not kept"), "kept", "not kept", "not kept"];
      assert.deepEqual(page.heard, expected);
      assert.deepEqual(other.heard, ["not kept"]);
    }
  },

  async an_old_store_s_position_is_a_gap_of_its_page_alone() {
    for (const share of [true, "lock"]) {
      const { server, open, publish, pass } = begin(), since = server.position;
      server.restart();
      const one = open({ share }), two = open({ since, share });
      one.subscribe("a");
      await pass();
      publish("b", "the store goes on");
      two.subscribe("a");
      await pass();
      publish("a", 1);
      await pass();
      assert.deepEqual([one.gaps, one.heard], [[], [1]]);
      assert.deepEqual(two.gaps, [{ reason: "restarted", wait: 0, channels: ["a"] }]);
      assert.deepEqual(two.heard, [1]);
    }
  },

  async a_page_without_subscriptions_for_a_while_misses_nothing() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      const first = page.subscribe("a");
      await pass();
      publish("a", 1);
      await pass();
      first.unsubscribe();
      await pass();
      assert.equal(page.push.state, "closed");
      publish("a", 2);
      server.restart();
      publish("a", 3);
      page.subscribe("a");
      await pass();
      publish("a", 4);
      await pass();
      assert.deepEqual([page.gaps, page.heard], [[], [1, 4]]);
    }
  },

  async a_newer_store_s_position_does_not_hide_what_other_pages_missed() {
    const { server, open, pass } = begin(), one = open(), two = open();
    one.subscribe("a");
    await pass();
    server.up = false;
    server.cut();
    await pass(5e3);
    server.restart();
    server.publish("a", "lost");
    two.subscribe("a", { since: server.position });
    server.up = true;
    await pass(60e3);
    assert.deepEqual([one.gaps.length, one.heard], [1, []]);
  },

  async a_page_gets_a_gap_only_once() {
    for (const share of [true, "lock"]) {
      const { server, open, publish, pass } = begin(), since = server.position;
      const one = open({ since, share });
      publish("a", 1);
      server.trim("a");
      publish("a", 2);
      one.subscribe("a");
      await pass();
      assert.deepEqual([one.gaps.length, one.heard], [1, [2]]);
      const two = open({ since, share });
      two.subscribe("a");
      await pass();
      assert.deepEqual([two.gaps.length, two.heard], [1, [2]]);
      assert.deepEqual([one.gaps.length, one.heard], [1, [2]]);
    }
  },

  async messages_of_an_older_connection_are_ignored() {
    const { browser, open, publish, pass } = begin(), page = open();
    page.subscribe("a");
    await pass();
    const old = browser.ports.at(-1);
    page.scope.dispatch("pagehide", { persisted: true });
    page.scope.dispatch("pageshow", { persisted: true });
    await pass();
    const states = page.states.length;
    old.arrive({ state: "closed", reason: { status: 403 } });
    old.arrive({ type: "message", data: "9", id: "aaaaa-zzzzzzzzz.a" });
    publish("a", 1);
    await pass();
    assert.deepEqual(page.heard, [1]);
    assert.equal(page.states.length, states);
  },

  async a_clock_that_was_set_back_hides_no_silence() {
    for (const share of WAYS) {
      const { browser, server, open, publish, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      for (const scope of browser.scopes) scope.skew = -3600e3;
      await pass(10e3);
      // The connection is dead, and says nothing.
      server.hang();
      publish("a", 1);
      await pass(120e3);
      assert.deepEqual(page.heard, [1]);
    }
  },

  async where_one_way_to_share_is_closed_the_next_one_is_used() {
    const closed = [
      { worker: "throws" }, { worker: "fails" }, { worker: "is silent" }, { locks: true },
      { locks: true, air: true, worker: "throws" }, { air: true, worker: "throws" },
      { air: true, worker: "is silent" },
    ];
    for (const blocked of closed) {
      const { browser, open, publish, pass } = begin();
      Object.assign(browser.blocked, blocked);
      const pages = [open(), open()];
      for (const page of pages) page.subscribe("a");
      await pass(blocked.worker == "is silent" ? 120e3 : 1e3);
      publish("a", 1);
      await pass();
      for (const page of pages) {
        assert.deepEqual([page.push.state, page.heard], ["open", [1]], JSON.stringify(blocked));
        assert.deepEqual(page.scope.said, []);
      }
    }
  },

  async events_without_a_listener_are_in_the_console() {
    const { browser, server, pass, publish } = begin(), scope = browser.page();
    server.denied.push("b");
    const push = scope.exported.connect("/stream", { sinc: "x", share: false });
    push.on("gaps", () => {});
    push.subscribe("a", null, { prase: "text" });
    push.subscribe("b");
    await pass();
    server.publish("a", null);
    server.say("a", "{not JSON");
    server.restart();
    server.cut();
    await pass(10e3);
    server.status = 403;
    server.cut();
    await pass(10e3);
    const expected = [
      "error TypeError: there is no sinc", "error TypeError: there is no gaps",
      "error TypeError: there is no prase", "error Error: the view does not grant b",
      "error SyntaxError: not JSON on a: ", "gap [object Object]", "push.js is closed: 403",
    ];
    assert.equal(scope.said.length, expected.length, scope.said);
    scope.said.forEach((said, n) => assert.ok(said.startsWith(expected[n]), said));
    assert.ok(publish);
  },

  async events_with_a_callback_are_not_in_the_console() {
    const { browser, server, open, pass } = begin();
    server.denied.push("b");
    const page = open({ sinc: "x", share: false });
    page.push.on("gaps", () => {});
    page.subscribe("b", { prase: 1 });
    await pass();
    server.status = 404;
    server.cut();
    await pass(10e3);
    assert.deepEqual(page.errors, [
      "there is no sinc", "there is no gaps", "there is no prase", "the view does not grant b",
    ]);
    assert.deepEqual(page.scope.said, []);
    assert.deepEqual(page.states.at(-1), ["closed", 404]);
    assert.ok(browser);
  },

  async an_unknown_way_to_parse_is_a_type_error() {
    const { open, pass } = begin(), page = open({ share: false });
    assert.throws(() => page.subscribe("a", { parse: "xml" }), { name: "TypeError" });
    assert.throws(() => open({ parse: "xml" }), { name: "TypeError" });
    await pass();
  },

  async each_page_gets_a_refusal_and_each_new_page_tries_again() {
    for (const share of [true, "lock"]) {
      const { server, open, publish, pass } = begin(), one = open({ share }), two = open({ share });
      server.status = 401;
      one.subscribe("a");
      two.subscribe("a");
      await pass(5e3);
      for (const page of [one, two])
        assert.deepEqual(page.states.at(-1), ["closed", 401]);
      const count = server.asked.length;
      await pass(60e3);
      assert.equal(server.asked.length, count);
      // Somebody logs in.
      server.status = 0;
      const three = open({ share });
      three.subscribe("a");
      await pass(5e3);
      publish("a", 1);
      await pass();
      for (const page of [one, two, three])
        assert.deepEqual([page.push.state, page.heard], ["open", [1]]);
    }
  },

  async each_page_is_notified_of_a_disconnect_once_and_resumes() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), pages = [open({ share }), open({ share })];
      for (const page of pages) page.subscribe("a");
      await pass();
      publish("a", 1);
      await pass();
      server.disconnect("rights changed");
      publish("a", 2);
      await pass();
      for (const page of pages)
        assert.deepEqual([page.reasons, page.heard, page.push.state], [["rights changed"], [1], "waiting"]);
      await pass(5e3);
      publish("a", 3);
      await pass();
      for (const page of pages) {
        assert.deepEqual([page.reasons, page.heard, page.push.state], [["rights changed"], [1, 2, 3], "open"]);
        assert.deepEqual([page.gaps, page.errors, page.scope.said], [[], [], []]);
      }
      assert.equal(server.asked.length, share ? 2 : 4);
    }
  },

  async each_page_gets_the_refusal_that_follows_a_disconnect() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), pages = [open({ share }), open({ share })];
      for (const page of pages) page.subscribe("a");
      await pass();
      server.status = 401;
      server.disconnect("");
      publish("a", 1);
      await pass(60e3);
      for (const page of pages) {
        assert.deepEqual([page.reasons, page.heard], [[""], []]);
        assert.deepEqual(page.states.slice(-3).map(([state]) => state), ["waiting", "connecting", "closed"]);
        assert.deepEqual(page.states.at(-1), ["closed", 401]);
      }
    }
  },

  async channels_that_are_still_granted_after_a_disconnect_resume() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      for (const name of "abc") page.subscribe(name);
      await pass();
      publish("b", "before");
      await pass();
      server.denied.push("b");
      server.disconnect("");
      publish("a", 1);
      publish("b", "secret");
      publish("c", 2);
      await pass(5e3);
      publish("b", "secret");
      publish("a", 3);
      await pass();
      assert.deepEqual([page.reasons, page.heard], [[""], ["before", 1, 2, 3]]);
      assert.deepEqual(page.errors, ["the view does not grant b"]);
      assert.deepEqual([page.gaps, page.push.state], [[], "open"]);
    }
  },

  async a_page_that_closes_at_a_disconnect_ends_nothing_for_the_others() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), one = open({ share }), two = open({ share });
      one.push.on("disconnect", () => one.push.close());
      for (const page of [one, two]) page.subscribe("a");
      await pass();
      server.disconnect("gone");
      publish("a", 1);
      await pass(60e3);
      assert.deepEqual([one.reasons, one.push.state, one.heard], [["gone"], "closed", []]);
      assert.deepEqual([two.reasons, two.push.state, two.heard], [["gone"], "open", [1]]);
    }
  },

  async every_status_that_cannot_change_is_final() {
    for (const status of [204, 400, 401, 403, 404, 405, 413, 414, 431]) {
      const { server, open, pass } = begin(), page = open({ share: false });
      server.status = status;
      page.subscribe("a");
      await pass(60e3);
      assert.deepEqual(page.states.at(-1), ["closed", status]);
      assert.equal(server.asked.length, 2, "once more, to learn why");
    }
    for (const status of [200, 408, 429, 500, 502, 503, 504]) {
      const { server, open, pass } = begin(), page = open({ share: false });
      server.status = status;
      page.subscribe("a");
      await pass(1e3);
      assert.deepEqual([page.push.state, page.push.reason.status], ["waiting", status]);
      server.status = 0;
      await pass(60e3);
      assert.equal(page.push.state, "open");
    }
  },

  async many_channels_are_requested_by_post() {
    for (const share of WAYS) {
      const { server, open, publish, pass } = begin(), page = open({ share });
      const names = Array.from({ length: 300 }, (_, n) => `channel-${n}`);
      for (const name of names.slice(0, 10)) page.subscribe(name);
      await pass();
      for (const name of names.slice(10)) page.subscribe(name);
      await pass();
      const [few, many] = server.asked;
      assert.deepEqual([few.posted, few.channels], [false, names.slice(0, 10)]);
      assert.deepEqual([many.posted, many.channels], [true, names]);
      assert.ok(many.url.length < 300, many.url);
      publish("channel-5", 1);
      publish("channel-299", 2);
      await pass();
      assert.deepEqual(page.heard, [1, 2]);
    }
  },

  async the_page_s_own_body_is_sent_unchanged() {
    const { server, open, pass } = begin();
    const page = open({ share: false, transport: "fetch", method: "POST", body: "own" });
    for (let n = 0; n < 300; n++) page.subscribe(`channel-${n}`);
    await pass();
    const [{ posted, channels, url }] = server.asked;
    assert.deepEqual([posted, channels.length], [false, 300]);
    assert.ok(url.length > 4e3);
  },

  async types_without_a_callback_are_no_longer_listened_to() {
    const { browser, open, pass } = begin(), page = open({ share: false });
    const one = page.subscribe("a");
    await pass();
    const [source] = browser.sources, before = [...source.types];
    for (let n = 0; n < 100; n++) {
      const off = one.on(`type ${n}`, () => {});
      await pass();
      off();
    }
    // Which is seen to with the next change.
    one.on("said", () => {});
    await pass();
    assert.deepEqual([...source.types], [...before, "said"]);
  },

  async ten_thousand_events_can_wait_for_a_loop() {
    const { server, open, pass } = begin(), page = open({ share: false });
    const events = page.push.subscribe("a")[Symbol.asyncIterator]();
    const first = events.next();
    await pass();
    for (let n = 0; n < 10_001; n++) server.publish("a", n);
    await pass();
    assert.equal((await first).value.data, 0);
    for (let n = 1; n <= 10_000; n++) assert.equal((await events.next()).value.data, n);
    for (let n = 0; n <= 10_001; n++) server.publish("a", n);
    await pass();
    await assert.rejects(events.next(), RangeError);
  },

  async a_loop_ends_with_its_subscription() {
    const { server, open, pass } = begin(), page = open({ share: false });
    const one = page.push.subscribe("a"), found = [];
    const done = (async () => {
      for await (const { data } of one) found.push(data);
    })();
    await pass();
    server.publish("a", 1);
    await pass();
    one.unsubscribe();
    await done;
    assert.deepEqual(found, [1]);
  },

  async a_callback_that_unsubscribes_another_silences_it_at_once() {
    const { server, open, pass } = begin(), page = open({ share: false }), heard = [];
    page.push.subscribe("a", () => {
      heard.push("first");
      second.unsubscribe();
      page.push.subscribe("a", () => heard.push("third"));
    });
    const second = page.push.subscribe("a", () => heard.push("second"));
    await pass();
    server.publish("a", 1);
    await pass();
    assert.deepEqual(heard, ["first"]);
  },

  async what_is_closed_stays_closed() {
    for (const share of WAYS) {
      const { server, open, pass } = begin(), page = open({ share });
      page.subscribe("a");
      await pass();
      page.push.close();
      page.subscribe("a");
      await pass(60e3);
      assert.equal(page.push.state, "closed");
      assert.equal(server.asked.length, 1);
      assert.deepEqual(page.scope.said, []);
      assert.equal(page.scope.listening, 0);
    }
  },
};

await run(cases);
