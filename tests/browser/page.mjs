// Looks at pages of `oribi compare` in headless Chromium: node page.mjs PAGE.html...
// Each page is opened at the width of a phone and of a desk, light and dark. Beside each page its pictures are left.
// CHROMIUM names the browser where it is not found by its usual names.

import { execFileSync } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import puppeteer from 'puppeteer-core'

const WIDTHS = [390, 1280]
const SCHEMES = ['light', 'dark']
const BROWSERS = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome']

function findBrowser() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM
  for (const name of BROWSERS) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim()
    } catch {} // the next one
  }
  throw new Error(`no browser; one of these must be in the path: ${BROWSERS.join(', ')}`)
}

// Runs in the page: what is wrong with it, as sentences, and how much was looked at.
function inspect() {
  const wrong = []
  const say = (text) => wrong.push(text)
  const visible = (element) => element.getClientRects().length > 0

  const width = document.documentElement.scrollWidth
  if (width > window.innerWidth) say(`scrolls sideways: ${width} of ${window.innerWidth} pixels`)
  for (const element of document.querySelectorAll('h1, p, figure, table, td, th, dd, svg')) {
    const box = element.getBoundingClientRect()
    const clipped = element.closest('thead') && getComputedStyle(element.closest('thead')).position === 'absolute'
    if (visible(element) && !clipped && box.right > window.innerWidth + 0.5) {
      say(`${element.tagName} sticks out to ${box.right}: ${element.textContent.slice(0, 40)}`)
    }
  }

  // Every level of the table that has a number for its divergence has a point in each plot, except a reference that is no level.
  const plots = [...document.querySelectorAll('figure svg[role=img]')].filter(visible)
  if (plots.length !== 2) say(`${plots.length} plots are to be seen`)
  const rows = [...document.querySelectorAll('tbody tr')].map((row) => ({
    name: row.querySelector('th').firstChild.textContent.trim(),
    isReference: row.querySelector('th').textContent.includes('the reference'),
    hasNumber: !row.textContent.includes('not a number'),
  }))
  let nPoints = 0
  let nLabels = 0
  const overlap = (a, b) =>
    a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5
  const boxes = (elements) => elements.map((e) => ({ text: e.textContent, box: e.getBoundingClientRect() }))
  for (const plot of plots) {
    const area = plot.querySelector('.axis').getBoundingClientRect()
    const points = [...plot.querySelectorAll('circle.point')]
    nPoints += points.length
    for (const point of points) {
      const box = point.getBoundingClientRect()
      if (box.left < area.left || box.right > area.right || box.top < area.top || box.bottom > area.bottom) {
        say(`${point.dataset.level} lies outside of its plot`)
      }
    }
    const drawn = points.map((point) => point.dataset.level.trim())
    for (const row of rows) {
      const expected = row.hasNumber && !(row.isReference && !plot.querySelector('.point.reference'))
      if (drawn.includes(row.name) !== expected) say(`${row.name} is ${expected ? 'not ' : ''}drawn`)
    }
    const texts = boxes([...plot.querySelectorAll('text')])
    texts.forEach((a, i) => {
      for (const b of texts.slice(0, i)) if (overlap(a.box, b.box)) say(`"${a.text}" lies over "${b.text}"`)
    })
    const labels = boxes([...plot.querySelectorAll('text.name')])
    nLabels += labels.length
    for (const label of labels) {
      const { box } = label
      if (box.left < area.left - 0.5 || box.right > area.right + 0.5) say(`"${label.text}" leaves its plot`)
      for (const point of points) {
        if (overlap(box, point.getBoundingClientRect())) say(`"${label.text}" lies over the point of ${point.dataset.level}`)
      }
    }
    const least = Math.min(...texts.map((t) => t.box.height))
    if (least < 12) say(`text in a plot is only ${least} pixels high`)
    const title = document.getElementById(plot.getAttribute('aria-labelledby').split(' ')[0])
    if (!title || !title.textContent || !plot.querySelector('desc').textContent) say('a plot has no title or description')
  }

  // WCAG 2: 4.5 to 1 for text, 3 to 1 for large text and for what is drawn.
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
  }
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y)
    return (light + 0.05) / (dark + 0.05)
  }
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor)
      if (color[3] === 255) return color
    }
    return [255, 255, 255, 255]
  }
  let leastContrast = Infinity
  const check = (element, color, least, what) => {
    const found = contrast(rgb(color), background(element))
    leastContrast = Math.min(leastContrast, found)
    if (found < least) say(`${what} has a contrast of ${found.toFixed(2)}, less than ${least}`)
  }
  for (const element of document.querySelectorAll('h1, h2, p, li, figcaption, caption, th, td, small, dt, dd')) {
    if (visible(element)) check(element, getComputedStyle(element).color, 4.5, `"${element.textContent.trim().slice(0, 30)}"`)
  }
  for (const text of plots.flatMap((plot) => [...plot.querySelectorAll('text')])) {
    check(text, getComputedStyle(text).fill, 4.5, `"${text.textContent}"`)
  }
  for (const point of plots.flatMap((plot) => [...plot.querySelectorAll('circle.point')])) {
    const style = getComputedStyle(point)
    check(point, point.classList.contains('beaten') ? style.stroke : style.fill, 3, `the point of ${point.dataset.level}`)
  }
  return { wrong, nPoints, nLabels, leastContrast, scripts: document.scripts.length, height: document.body.scrollHeight }
}

const browser = await puppeteer.launch({ executablePath: findBrowser(), args: ['--no-sandbox', '--disable-gpu'] })
let failures = 0
const grounds = new Set()
try {
  for (const file of process.argv.slice(2)) {
    for (const width of WIDTHS) {
      for (const scheme of SCHEMES) {
        const wrong = []
        const page = await browser.newPage()
        const address = pathToFileURL(file).href
        page.on('console', (message) => wrong.push(`console: ${message.text()}`))
        page.on('pageerror', (error) => wrong.push(`error: ${error.message}`))
        page.on('request', (request) => {
          if (request.url() !== address && !request.url().startsWith('data:')) wrong.push(`request: ${request.url()}`)
        })
        await page.setViewport({ width, height: 900, deviceScaleFactor: 1, isMobile: width < 600 })
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
        await page.goto(address, { waitUntil: 'networkidle0' })
        const found = await page.evaluate(inspect)
        wrong.push(...found.wrong)
        if (found.scripts !== 0) wrong.push(`${found.scripts} scripts`)
        grounds.add(`${scheme} ${await page.evaluate(() => getComputedStyle(document.body).backgroundColor)}`)
        await page.screenshot({ path: file.replace(/\.html$/, `-${width}-${scheme}.png`), fullPage: true })
        await page.close()
        const contrast = found.leastContrast.toFixed(1)
        console.log(`${file} ${width} ${scheme}: ${found.nPoints} points, ${found.nLabels} labels, contrast ${contrast} at least`)
        for (const text of wrong) console.log(`  ${text}`)
        failures += wrong.length
      }
    }
  }
} finally {
  await browser.close()
}
if (grounds.size !== SCHEMES.length) {
  console.log(`the colour schemes are not two: ${[...grounds].join(', ')}`)
  failures += 1
}
process.exit(failures === 0 && process.argv.length > 2 ? 0 : 1)
