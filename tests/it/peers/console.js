// An operator with a browser (headless Chromium). Usage: node console.js CHROMIUM CONSOLE_PORT PASSWORD. What the plant must do meanwhile is
// asked for on a line "want …", and is done when a line comes back. Prints each step, then "passed".

const net = require("net");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { createRequire } = require("module");
const need = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = need("playwright-core");
const axe = fs.readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");

const [browserPath, port, password] = process.argv.slice(2);
/** A machine that builds something else meanwhile takes many times what this one takes. */
const BOUND = 60000;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PHONE = { width: 360, height: 740 };
const PAGES = ["/", "/?view=all&alarm=Tank%2FAlarms%2FTrip", "/tags", "/on-call", "/messages", "/messages?view=held", "/statistics", "/sources", "/audit", "/what-if"];
const TRIP = "Tank/Alarms/Trip";
/** Alarms on memory tags. */
const MEMORIES = 30;

const input = require("readline").createInterface({ input: process.stdin });
const waiting = [];
input.on("line", (line) => waiting.shift()?.(line));

/** Has the plant do something. */
const want = (what) =>
  new Promise((resolve) => {
    waiting.push(resolve);
    console.log(`want ${what}`);
  });
const step = (text) => console.log(`step ${text}`);
const must = (truth, what) => {
  if (!truth) throw new Error(what);
};

/** The line between browser and daemon: it can be cut, or go dead without an end. */
class Line {
  #pairs = new Set();
  #state = "up";
  /** It was cut or dead once: what the browser says of lost connections may come late. */
  broke = false;

  async open() {
    const server = net.createServer((near) => {
      if (this.#state === "cut") return near.destroy();
      const far = net.connect(Number(port), "127.0.0.1");
      const pair = [near, far];
      this.#pairs.add(pair);
      for (const [one, other] of [pair, [far, near]]) {
        one.on("data", (data) => this.#state === "dead" || other.write(data));
        one.on("error", () => {});
        one.on("close", () => {
          other.destroy();
          this.#pairs.delete(pair);
        });
      }
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return server.address().port;
  }

  cut() {
    this.broke = true;
    this.#state = "cut";
    for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy());
  }

  dead() {
    this.broke = true;
    this.#state = "dead";
  }

  mend() {
    const dead = this.#state === "dead";
    this.#state = "up";
    if (dead) for (const pair of this.#pairs) pair.forEach((socket) => socket.destroy());
  }
}

const line = new Line();
let base = "";
/** What the browser complained of while the line was up. */
const complaints = [];
let quiet = false;
/** The page that is looked at, for a failure's report. */
let shown = null;

function listen(page) {
  shown = page;
  page.setDefaultTimeout(BOUND);
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.stack}`));
  page.on("console", (message) => {
    const text = message.text();
    // Asking who is logged in is answered 401 when nobody is, as is a wrong password; the browser logs both.
    const expected = /status of 401/.test(text) && /\/api\/v1\/session/.test(message.location().url);
    const refused = /status of 422/.test(text) && /\/api\/v1\/tags\//.test(message.location().url);
    const late = line.broke && /net::ERR_/.test(text);
    if (["error", "warning"].includes(message.type()) && !quiet && !expected && !refused && !late) complaints.push(`${page.url()}: ${text}`);
  });
  return page;
}

const row = (page, alarm) => page.locator(`[data-alarm="${alarm}"]`);
/** Waits until something there has the text; a regular expression minds the case. */
const says = (locator, text) => locator.filter({ hasText: text }).first().waitFor();
const ACKNOWLEDGED = /Acknowledged/;
/** Sends the form of the dialogue and waits until that is done: what it changes may be told before it is answered. */
async function submit(page, press = "click") {
  await page.locator("dialog button[type=submit]")[press]();
  await page.locator("dialog[open]").waitFor({ state: "detached" });
}
/** Waits until the element in focus is the one that is meant. */
const focusIs = (page, selector) => page.waitForFunction((wanted) => document.activeElement.matches(wanted), selector);
/** Chooses all alarms that are shown, which are so many. */
async function chooseAll(page, count) {
  await page.keyboard.press("Shift+A");
  await says(page.locator(".chosen strong"), `${count} chosen`);
}

async function logIn(page, user, secret = password) {
  await page.goto(base + "/");
  await page.locator("#field-user").fill(user);
  await page.locator("#field-password").fill(secret);
  await page.keyboard.press("Enter");
}

async function fits(page) {
  const wide = await page.evaluate(() =>
    document.documentElement.scrollWidth > innerWidth
      ? [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1).map((element) => `${element.tagName}.${element.className}`).slice(0, 6)
      : null,
  );
  must(!wide, `${page.url()} scrolls sideways: ${wide}`);
}

async function accessible(page, what, only = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate((runOnly) => globalThis.axe.run(document, { runOnly }), only);
  const found = violations.map(({ id, help, nodes }) => `${id} (${help}): ${nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join("; ")}`);
  must(!found.length, `${what} ${page.url()}: ${found.join("\n")}`);
}

async function everyPage(page, look) {
  for (const path of PAGES) {
    await page.goto(base + path);
    await page.locator("main :is(h1, h2)").filter({ visible: true }).first().waitFor();
    await page.locator(".connection.live").waitFor();
    await page.waitForFunction(() => ![...document.querySelectorAll("main .empty")].some((element) => /Loading|being read/.test(element.textContent)));
    must(!(await page.locator("main .notice.bad[role=alert]").count()), `${path}: ${await page.locator("main").innerText()}`);
    await look(page, path);
    // So that no step is long.
    console.log(`page ${path}`);
  }
}

async function alarmComesAndIsAcknowledged(page) {
  await page.goto(base + "/");
  await page.locator("#field-user").fill("bob");
  await page.locator("#field-password").fill("wrong");
  await page.keyboard.press("Enter");
  await says(page.locator(".refusal"), "wrong");
  await page.locator("#field-password").fill(password);
  await page.keyboard.press("Enter");
  await says(page.locator(".empty"), "Nothing wants attention");
  step("logged in");

  await page.evaluate(() => (globalThis.notReloaded = true));
  await want("trip");
  await says(row(page, TRIP), "Unacknowledged");
  await page.waitForFunction(() => /New critical alarm/.test(document.querySelector("#said-urgent").textContent));
  await page.waitForFunction(() => document.title.startsWith("(1) Alarms"));
  must(await page.evaluate(() => globalThis.notReloaded), "the page was loaded anew");
  step("an alarm came by itself and was said");

  await page.keyboard.press("j");
  await focusIs(page, `[data-alarm="${TRIP}"] .opens`);
  await page.keyboard.press("a");
  await page.locator("dialog[open]").waitFor();
  await page.locator("#field-note").waitFor();
  await focusIs(page, "#field-note");
  await page.keyboard.type("valve is stuck");
  await page.keyboard.press("Tab");
  await focusIs(page, "dialog button[type=submit]");
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  await says(row(page, TRIP), ACKNOWLEDGED);
  await want("coil");
  step("acknowledged by keyboard alone, and the PLC's coil was set");

  await row(page, TRIP).locator(".opens").focus();
  await page.keyboard.press("Enter");
  await focusIs(page, "#story-title");
  for (const text of ["Raised", "valve is stuck", "Message sent", "alice", "Write back"]) await says(page.locator(".timeline"), text);
  await page.keyboard.press("Escape");
  await page.locator(".story").waitFor({ state: "detached" });
  await focusIs(page, `[data-alarm="${TRIP}"] *`);
  step("the story tells all of it");
}

async function shelving(page) {
  await row(page, TRIP).locator("input[type=checkbox]").check();
  await page.getByRole("button", { name: "Shelve…" }).click();
  await page.locator("#field-minutes").selectOption("15");
  await submit(page);
  await row(page, TRIP).waitFor({ state: "detached" });
  await page.goto(base + "/?view=shelved");
  await says(row(page, TRIP), "Shelved until");
  await row(page, TRIP).locator(".opens").click();
  await page.locator(".story").getByRole("button", { name: "Unshelve…" }).click();
  await submit(page);
  await row(page, TRIP).waitFor({ state: "detached" });
  step("shelved and unshelved");

  await page.goto(base + "/");
  await page.locator(`[data-alarm="${TRIP}"]`).waitFor();
  await want("many");
  await page.waitForFunction(() => document.querySelectorAll("[data-alarm].unacked").length === 3);
  await chooseAll(page, 3);
  await page.locator(".chosen .primary").click();
  await page.locator("#field-note").fill("all seen");
  await submit(page);
  await page.waitForFunction(() => document.querySelectorAll("[data-alarm].unacked").length === 0);
  step("many acknowledged at once");

  const one = row(page, "Mem1/Alarms/On");
  await one.locator("input[type=checkbox]").check();
  await page.getByRole("button", { name: "Out of service…" }).click();
  await submit(page);
  await page.goto(base + "/?view=out");
  await says(one, "Out of service");
  await one.locator(".opens").click();
  await page.locator(".story").getByRole("button", { name: "Back in service…" }).click();
  await submit(page);
  await one.waitFor({ state: "detached" });
  step("out of service and back");

  await page.goto(base + "/?view=all&text=mem");
  const out = page.locator("[data-alarm] .flag", { hasText: "Out of service" });
  await page.waitForFunction((count) => document.querySelectorAll("[data-alarm]").length === count, MEMORIES);
  await chooseAll(page, MEMORIES);
  await page.getByRole("button", { name: "Out of service…" }).click();
  await page.locator("#field-note").fill("the line is down");
  await submit(page);
  await says(page.locator(".toast"), `${MEMORIES} alarms out of service`);
  await out.nth(MEMORIES - 1).waitFor();
  await chooseAll(page, MEMORIES);
  await page.getByRole("button", { name: "Back in service…" }).click();
  await submit(page);
  await says(page.locator(".toast"), `${MEMORIES} alarms back in service`);
  await out.first().waitFor({ state: "detached" });
  step("many out of service at once, and back");
}

async function writing(page) {
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await page.waitForURL("**/tags");
  await says(page.locator("h1"), "Tags");
  await page.keyboard.press("/");
  await focusIs(page, "input[type=search]");
  await page.keyboard.type("limit");
  const limit = page.locator("tr", { hasText: "Limit" });
  await says(limit, "85");
  await limit.getByRole("button").click();
  await page.locator("#field-value").fill("400");
  await page.locator("dialog button[type=submit]").click();
  await says(page.locator("dialog .notice"), "400");
  await page.getByRole("button", { name: "Write 400" }).click();
  await page.waitForFunction(() => document.querySelector("dialog .refusal")?.textContent.length > 10);
  await page.getByRole("button", { name: "Back" }).click();
  await page.locator("#field-value").fill("90.5");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Write 90.5" }).click();
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  await says(limit, "90.5");
  step("a tag was refused, then written after a confirmation");
}

async function losingTheLine(page) {
  await page.goto(base + "/");
  await row(page, TRIP).waitFor();
  for (const break_ of ["cut", "dead"]) {
    quiet = true;
    line[break_]();
    await says(page.locator(".banner"), "Disconnected");
    // What is old is marked, and grey.
    await page.waitForFunction(() => document.documentElement.dataset.link === "lost" && getComputedStyle(document.querySelector("main")).filter.includes("grayscale"));
    await row(page, TRIP).locator("input[type=checkbox]").check();
    // Nothing can be acknowledged.
    await page.locator(".chosen .primary[aria-disabled=true]").waitFor();
    await want(`memory ${break_}`);
    line.mend();
    await page.locator(".banner").waitFor({ state: "detached" });
    await says(row(page, break_ === "cut" ? "Mem3/Alarms/On" : "Mem4/Alarms/On"), "Unacknowledged");
    await row(page, TRIP).locator("input[type=checkbox]").uncheck();
    quiet = false;
    step(`the line was ${break_}, and it came back by itself`);
  }
  must(await page.evaluate(() => document.querySelector("#said-urgent").textContent.length > 0), "it was said");
}

async function duty(page) {
  const other = listen(await page.context().newPage());
  for (const one of [other, page]) {
    await one.goto(base + "/on-call");
    await says(one.locator(".duty"), "alice");
    await one.locator(".connection.live").waitFor();
  }
  await page.getByRole("button", { name: "New override…" }).click();
  await page.locator("#field-user").selectOption("carol");
  await page.locator("#field-covers").selectOption("alice");
  await page.locator("#field-note").fill("sick");
  await submit(page);
  await says(page.locator(".duty"), "carol");
  await says(other.locator(".duty"), "carol");
  step("an override was made, and shown in another window too");

  await other.goto(base + "/messages?view=held");
  await says(other.locator("h1"), "Messages");
  await other.locator(".connection.live").waitFor();
  await want("covered");
  await says(other.locator("tr", { hasText: "alice" }), "covered");
  await other.locator("select[name=reason]").selectOption("budget");
  await says(other.locator(".empty"), "No message fits the filter.");
  await other.locator("select[name=reason]").selectOption("covered");
  await says(other.locator("tr", { hasText: "alice" }), "covered");
  must(new URL(other.url()).searchParams.get("reason") === "covered", "the filter stands in the address");
  await other.locator("input[name=user]").fill("nobody");
  await other.getByRole("button", { name: "Show" }).click();
  await says(other.locator(".empty"), "No message fits the filter.");
  await other.close();
  shown = page;
  step("what was not sent came by itself, with its reason, and was found by it");

  await page.getByRole("button", { name: "Remove the override of carol" }).click();
  await submit(page);
  await page.waitForFunction(() => !/carol/.test(document.querySelector(".duty").textContent));
  step("the override was removed");
}

async function retrying(page) {
  await page.goto(base + "/messages");
  await want("lost text");
  const lost = page.locator("tr", { hasText: "Pump" }).filter({ hasText: "Undelivered" });
  await says(lost, "alice");
  await page.locator("select[name=state]").selectOption("failed");
  await page.waitForFunction(() => [...document.querySelectorAll("tbody tr")].every((row) => /Undelivered|Failed/.test(row.textContent)));
  await want("reachable");
  await lost.first().getByRole("button", { name: /Retry/ }).click();
  await says(page.locator(".toast"), "waits to be sent");
  await page.locator("select[name=state]").selectOption("arrived");
  await says(page.locator("tr", { hasText: "sent once more for bob" }), "Delivered");
  await want("arrived");
  step("a text that was lost was sent once more, and arrived");
}

async function records(page) {
  await page.goto(base + "/messages");
  await says(page.locator("tr", { hasText: "Text" }), "Delivered");
  await page.goto(base + "/sources");
  await says(page.locator("tr", { hasText: "plc1" }), /Connected/);
  await page.goto(base + "/audit?kind=acknowledge");
  await says(page.locator("tr", { hasText: TRIP.split("/")[0] }).first(), "bob");
  await page.goto(base + "/statistics");
  await page.waitForFunction(() => [...document.querySelectorAll("tr")].some((row) => /alice/.test(row.textContent) && Number(row.querySelector("[data-label='Texts sent']")?.textContent) >= 2));
  await page.goto(base + "/what-if");
  await page.locator("#field-alarm").fill(TRIP);
  await page.locator("main button[type=submit]").click();
  await says(page.locator("main table"), "alice");
  step("messages, sources, audit, statistics and what-if show what was recorded");
}

async function keyboardOnly(page) {
  await page.goto(base + "/");
  await page.locator(".connection.live").waitFor();
  await page.keyboard.press("Tab");
  // The first stop is the skip link, it is seen, and it leads to the content.
  await page.waitForFunction(() => document.activeElement.className === "skip" && getComputedStyle(document.activeElement).top === "8px");
  await page.keyboard.press("Enter");
  await focusIs(page, "#main");
  await page.keyboard.press("?");
  await says(page.locator("dialog"), "Acknowledge the chosen alarms");
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  for (const [key, path] of [["o", "/on-call"], ["m", "/messages"], ["s", "/statistics"], ["c", "/sources"], ["u", "/audit"], ["w", "/what-if"], ["a", "/"]]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.waitForFunction((wanted) => location.pathname === wanted, path);
    await focusIs(page, "#main, #main *");
  }
  step("every page by keyboard");
}

async function phone(browser) {
  const context = await browser.newContext({ viewport: PHONE, hasTouch: true, isMobile: true, colorScheme: "dark" });
  const page = listen(await context.newPage());
  await logIn(page, "bob");
  await page.locator(".connection.live").waitFor();
  await want("memory phone");
  const alarm = row(page, "Mem5/Alarms/On");
  await says(alarm, "Unacknowledged");
  await fits(page);
  await alarm.locator(".opens").tap();
  await page.locator(".timeline li").first().waitFor();
  await fits(page);
  await page.locator(".story .primary").tap();
  await fits(page);
  await submit(page, "tap");
  await says(page.locator(".story"), ACKNOWLEDGED);
  await page.getByRole("button", { name: "Menu" }).tap();
  await fits(page);
  await page.getByRole("link", { name: "On call" }).tap();
  await says(page.locator(".duty"), "alice");
  await everyPage(page, async () => {
    await fits(page);
    await accessible(page, "phone");
  });
  await context.close();
  step("all of it on a phone");
}

async function viewer(browser) {
  const context = await browser.newContext({ colorScheme: "light" });
  const page = listen(await context.newPage());
  await logIn(page, "vera");
  await row(page, TRIP).locator("input[type=checkbox]").check();
  await page.locator(".chosen .primary").click({ force: true });
  await says(page.locator(".toast"), "Your role is viewer; this needs operator.");
  must(!(await page.locator("dialog[open]").count()), "no form for who may not");
  await accessible(page, "viewer");
  await page.getByRole("button", { name: /Settings/ }).click();
  await page.getByRole("button", { name: "Log out", exact: true }).click();
  await says(page.locator(".notice"), "logged out");
  await accessible(page, "log in");
  await context.close();
  step("a viewer is told kindly");
}

/** A failure: the page as it is, what the browser said, and the reason last. */
async function told(error) {
  const shot = path.join(os.tmpdir(), `annunciator-console-${process.pid}.png`);
  const taken = await shown?.screenshot({ path: shot, timeout: 5000 }).then(() => `, see ${shot}`, () => "");
  const look = () => {
    const text = (selector) => [...document.querySelectorAll(selector)].map((element) => element.innerText.replace(/\s+/g, " ").slice(0, 500)).join(" / ");
    const focus = document.activeElement;
    return [
      `main: ${text("main")}`,
      `dialogue: ${text("dialog[open]")}; notices: ${text(".toast, .banner")}`,
      `connection: ${text(".connection")}; focus: ${focus.tagName}#${focus.id}.${focus.className}; ${document.visibilityState}`,
    ];
  };
  // A page that hangs is no reason to hang.
  const state = await Promise.race([shown?.evaluate(look).catch(() => []), new Promise((resolve) => setTimeout(resolve, 5000, []))]);
  const frame = error.stack.split("\n").filter((line) => line.includes(__filename)).slice(0, 2).map((line) => line.trim());
  const parts = [`page: ${shown?.url()}${taken}`, ...(state ?? []), `the browser said: ${complaints.join("; ").slice(0, 1000) || "nothing"}`, `failed: ${error.message.split("\n").slice(0, 4).join("; ")} ${frame.join(" ")}`];
  return parts.map((part) => part.replaceAll("\n", " "));
}

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "annunciator-console-"));
  const context = await chromium.launchPersistentContext(folder, { executablePath: browserPath, args: FLAGS, viewport: { width: 1280, height: 800 }, colorScheme: "dark" });
  try {
    base = `http://127.0.0.1:${await line.open()}`;
    const page = listen(context.pages()[0] ?? (await context.newPage()));
    await alarmComesAndIsAcknowledged(page);
    await shelving(page);
    await writing(page);
    await losingTheLine(page);
    await duty(page);
    await retrying(page);
    await records(page);
    await keyboardOnly(page);
    await everyPage(page, () => accessible(page, "dark"));
    await page.emulateMedia({ colorScheme: "light" });
    // The other colours are all that differs.
    await everyPage(page, () => accessible(page, "light", ["color-contrast"]));
    step("every page is accessible in dark and light");
    const browser = await chromium.launch({ executablePath: browserPath, args: FLAGS });
    try {
      await phone(browser);
      await viewer(browser);
    } finally {
      await browser.close();
    }
    must(!complaints.length, `the browser complained: ${complaints.join("\n")}`);
    console.log("passed");
  } catch (error) {
    console.log((await told(error)).join(" | "));
    process.exitCode = 1;
  } finally {
    await context.close();
    fs.rmSync(folder, { recursive: true, force: true });
    process.exit();
  }
}

main();
