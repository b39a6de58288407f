import { post } from "./post.js";

const form = document.querySelector("form");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = await post("name", { name: form.elements.name.value });
  if (problem) document.querySelector("#error").textContent = problem;
  else location.assign("./");
});
