// The components of the page, in a window of tests/docs/test_docs_hooks.py.
import { createApp, defineComponent, h, shallowRef } from "vue";
import Prices from "./Page.vue";
import { useEvents, useItems, usePresence, useStreamState } from "./push";

interface Shown {
  prices: number;
  channel?: string;
  comments?: { position: string; comments: string[] };
  present?: boolean;
}

const Items = defineComponent({
  props: { channel: { type: String, required: true } },
  setup(props) {
    const items = useItems<number>(() => props.channel);
    return () => h("p", { id: "items" }, items.value ? [...items.value].join(" ") : "…");
  },
});

const Comments = defineComponent({
  props: { position: { type: String }, comments: { type: Array<string>, required: true } },
  setup({ position, comments }) {
    const all = shallowRef(comments);
    useEvents<string>("comments", (text) => (all.value = [...all.value, text]), position);
    return () => h("ul", all.value.map((text) => h("li", text)));
  },
});

const Present = defineComponent(() => {
  const present = usePresence<{ name: string }>("lobby");
  return () => {
    const { members, count } = present.value ?? {};
    return h("p", { id: "present" }, `${members?.map(({ info }) => info.name) ?? "…"} ${count}`);
  };
});

const State = defineComponent(() => {
  const state = useStreamState();
  return () => h("p", { id: "state" }, state.value);
});

const shown = shallowRef<Shown>({ prices: 0 });
Object.assign(window, { show: (now: Shown) => (shown.value = now) });

const All = () => {
  const { prices, channel, comments, present } = shown.value;
  return [
    h(State),
    ...Array.from({ length: prices }, (_, key) => h(Prices, { key })),
    channel && h(Items, { channel }),
    comments && h(Comments, comments),
    present && h(Present),
  ];
};

createApp(All).mount(document.body);
