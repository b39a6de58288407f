// The members of a channel, in a Map that is kept up to date.
// They are sent as items are: all of them, and then each change. Members of large channels
// are only counted, and their number has no name.
import { connect, keep } from "./items.js";
import { Push } from "./push.js";

// A page that needs both imports `connect` from here, so that there is one worker.
export { connect };

const COUNTED = "";
const PRESENCE = {
  _list: "watch",
  _unset: "push:left",
  _key: ({ type, item }) => type == "push:count" ? COUNTED : item,
  _begin(one, push) {
    // The view need not grant the channel. What it lets the page watch stands in push:whole.
    Object.defineProperties(one, { _denied: { get: () => true, set() {} } });
    let denied;
    one.on("push:whole", (data) => {
      const had = denied;
      denied = !JSON.parse(data).watch?.includes(one.channel);
      if (denied && !had)
        push._tell("error", new Error(`the view does not let this page watch ${one.channel}`));
    });
    // Without it, push.js would not ask for push:whole.
    one.on("push:unset", () => {});
  },
};

Push.prototype.presence = function (channel, callback) {
  const members = new Map(), options = { types: ["push:joined", "push:count"], parse: "json" };
  let counted = 0, begun;
  return keep(this, PRESENCE, channel, options, (items, changed) => {
    const joined = [], left = [];
    for (const user of changed) {
      const had = members.get(user), found = items.get(user);
      if (user == COUNTED) counted = found?.count || 0;
      else if (found) {
        const member = { user, info: found.info };
        members.set(user, member);
        if (!had && begun) joined.push(member);
      } else if (had) {
        members.delete(user);
        left.push(had);
      }
    }
    begun = true;
    callback(members, { joined, left, count: members.size + counted });
  });
};
