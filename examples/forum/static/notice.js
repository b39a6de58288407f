// What the page says after it was loaded again.

const notice = document.querySelector("#notice");

export function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

/** Ask the page's own view again, which decides what this user may see now. */
export function askAgain(reason) {
  if (reason) sessionStorage.notice = reason;
  location.reload();
}

tell(sessionStorage.notice ?? "");
sessionStorage.removeItem("notice");
