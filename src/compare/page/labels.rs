//! Where the names of points go: near their points, inside the plot, over nothing else.
//!
//! Every label tries places round its point, near ones first, and takes the cheapest; labels that were placed early get a second
//! and a third chance when all others lie. The text is monospaced, so that its width is known here as it is in any browser.

/// Width of a character, in units of the font's size: monospaced fonts have 0.6, some a little less.
const CHAR_WIDTH: f64 = 0.61;

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    /// A square round a point.
    pub fn around(x: f64, y: f64, half: f64) -> Rect {
        Rect { left: x - half, top: y - half, right: x + half, bottom: y + half }
    }

    pub fn overlaps(&self, other: &Rect) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn within(&self, outer: &Rect) -> bool {
        self.left >= outer.left && self.right <= outer.right && self.top >= outer.top && self.bottom <= outer.bottom
    }

    /// The point of the rectangle that is nearest to another.
    fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }
}

/// What is to be labelled.
pub struct Request<'a> {
    pub at: (f64, f64),
    pub text: &'a str,
}

/// A label that found a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    pub rect: Rect,
    /// Where a line from the point to the label ends, if the label is so far away that it needs one.
    pub leader: Option<(f64, f64)>,
}

/// Where labels may go, and what lies there already.
pub struct Ground<'a> {
    pub area: Rect,
    /// Nothing may lie over these.
    pub obstacles: &'a [Rect],
    /// Corners of a line that labels rather keep off.
    pub line: &'a [(f64, f64)],
    pub font_size: f64,
    /// Half the width of a point.
    pub point_radius: f64,
}

impl Ground<'_> {
    /// A place for each label; `None` where there is none that touches nothing.
    pub fn place(&self, requests: &[Request]) -> Vec<Option<Placed>> {
        let points: Vec<Rect> =
            requests.iter().map(|r| Rect::around(r.at.0, r.at.1, self.point_radius + 1.0)).collect();
        let mut placed: Vec<Option<Placed>> = vec![None; requests.len()];
        for _ in 0..3 {
            for i in 0..requests.len() {
                let free = |rect: &Rect| {
                    let others = placed.iter().enumerate().filter(|(j, _)| *j != i).filter_map(|(_, p)| p.as_ref());
                    rect.within(&self.area)
                        && !self.obstacles.iter().chain(&points).any(|r| r.overlaps(rect))
                        && !others.map(|p| &p.rect).any(|r| r.overlaps(rect))
                };
                let candidates = self.candidates(&requests[i]).into_iter().filter(|c| free(&c.1.rect));
                placed[i] = candidates.min_by(|a, b| a.0.total_cmp(&b.0)).map(|c| c.1);
            }
        }
        placed
    }

    /// Places round a point with what they cost: distance, and crossing the line.
    fn candidates(&self, request: &Request) -> Vec<(f64, Placed)> {
        let (width, height) = (text_width(request.text, self.font_size), self.font_size * 1.25);
        let (x, y) = request.at;
        let mut found = Vec::new();
        for (ring, gap) in [3.0, 9.0, 17.0, 27.0, 39.0, 55.0, 75.0, 100.0].into_iter().enumerate() {
            let reach = self.point_radius + gap;
            for step in 0..16 {
                let (dy, dx) = (f64::from(step) * std::f64::consts::TAU / 16.0).sin_cos();
                // The label's nearest corner or edge lies on the ring.
                let (cx, cy) = (x + dx * (reach + width / 2.0), y + dy * (reach + height / 2.0));
                let rect = Rect {
                    left: cx - width / 2.0,
                    right: cx + width / 2.0,
                    top: cy - height / 2.0,
                    bottom: cy + height / 2.0,
                };
                let end = rect.nearest(request.at);
                let distance = (end.0 - x).hypot(end.1 - y);
                let crossed = self.line.windows(2).filter(|w| crosses(w[0], w[1], &rect)).count() as f64;
                // Right, left, above and below are read more easily than the directions between.
                let slant = if step % 4 == 0 { 0.0 } else { 1.5 };
                let cost = distance + slant + 14.0 * crossed;
                found.push((cost, Placed { rect, leader: (ring >= 2).then_some(end) }));
            }
        }
        found
    }
}

/// The width of a text; what is not ASCII may be twice as wide.
pub fn text_width(text: &str, font_size: f64) -> f64 {
    let cells: usize = text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    cells as f64 * CHAR_WIDTH * font_size + 2.0
}

/// Whether a piece of line passes through a rectangle, by its points.
fn crosses(a: (f64, f64), b: (f64, f64), rect: &Rect) -> bool {
    let steps = ((a.0 - b.0).hypot(a.1 - b.1) / 4.0).ceil().max(1.0);
    (0..=steps as usize).any(|i| {
        let t = i as f64 / steps;
        Rect::around(a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1), 1.0).overlaps(rect)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Rect = Rect { left: 0.0, top: 0.0, right: 300.0, bottom: 200.0 };

    fn place(points: &[(f64, f64)], obstacles: &[Rect]) -> Vec<Option<Placed>> {
        let ground = Ground { area: AREA, obstacles, line: points, font_size: 12.0, point_radius: 5.0 };
        ground.place(&points.iter().map(|&at| Request { at, text: "Q4_K_M" }).collect::<Vec<_>>())
    }

    fn check(points: &[(f64, f64)], obstacles: &[Rect]) {
        let placed: Vec<Rect> = place(points, obstacles).into_iter().map(|p| p.expect("a place").rect).collect();
        for (i, rect) in placed.iter().enumerate() {
            assert!(rect.within(&AREA), "{rect:?}");
            assert!(!placed[..i].iter().chain(obstacles).any(|other| other.overlaps(rect)), "{i}: {placed:?}");
            assert!(!points.iter().any(|p| Rect::around(p.0, p.1, 5.0).overlaps(rect)), "{i}: {placed:?}");
        }
    }

    #[test]
    fn labels_overlap_nothing() {
        check(&[(150.0, 100.0)], &[]);
        check(&[(150.0, 100.0), (152.0, 101.0), (154.0, 99.0), (156.0, 103.0)], &[]);
        check(&[(1.0, 1.0), (299.0, 1.0), (1.0, 199.0), (299.0, 199.0)], &[Rect::around(150.0, 100.0, 60.0)]);
        check(&(0..12).map(|i| (20.0 + f64::from(i) * 22.0, 190.0 - f64::from(i) * 15.0)).collect::<Vec<_>>(), &[]);
    }

    #[test]
    fn a_label_without_a_place_is_left_out() {
        let everything = [AREA];
        assert_eq!(place(&[(150.0, 100.0)], &everything), [None]);
        let near = place(&[(150.0, 100.0)], &[])[0].expect("a place").rect.nearest((150.0, 100.0));
        assert!((near.0 - 150.0).hypot(near.1 - 100.0) < 12.0);
    }
}
