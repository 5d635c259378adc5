//! The patterns of `branches`, `tags`, `paths` and their `-ignore` twins.
//!
//! `*` stops at `/`, `**` does not, `**/` may be nothing; `?` and `+` repeat the character before
//! them zero or one, one or more times (a `?` in front frees the start); `[...]` has ranges; `\`
//! escapes; `!` in front takes away. Patterns apply in order and the last that matches wins (GitHub's documentation, "Filter
//! pattern cheat sheet").

use trainyard_expression::Place;

/// A pattern that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As written.
    pub text: String,
    /// Whether it takes away.
    pub negated: bool,
    /// Where it stands, if it is of a file.
    pub place: Place,
    /// Whether a `?` in front repeats nothing.
    pub odd_start: bool,
    items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    one: One,
    repeat: Repeat,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum One {
    Char(char),
    Set(Vec<(char, char)>),
    /// Anything but `/`.
    Name,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Optional,
    Many,
    AnyTimes,
    /// Zero times, or one or more characters that end in `/`: `**/`.
    Folders,
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let (negated, body) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if body.is_empty() {
            return Err("the pattern is empty".into());
        }
        let mut items: Vec<Item> = Vec::new();
        let mut chars = body.chars().peekable();
        while let Some(c) = chars.next() {
            let one = match c {
                '*' => {
                    if chars.peek() != Some(&'*') {
                        items.push(Item { one: One::Name, repeat: Repeat::AnyTimes });
                        continue;
                    }
                    while chars.peek() == Some(&'*') {
                        chars.next();
                    }
                    let starts = items.last().is_none_or(|i| i.one == One::Char('/'));
                    if starts && chars.peek() == Some(&'/') {
                        chars.next();
                        items.push(Item { one: One::Any, repeat: Repeat::Folders });
                    } else {
                        items.push(Item { one: One::Any, repeat: Repeat::AnyTimes });
                    }
                    continue;
                }
                // In front it frees the start, and is no fault: public projects live by `?.*.x`.
                '?' if items.is_empty() && chars.peek().is_some() => {
                    items.push(Item { one: One::Any, repeat: Repeat::AnyTimes });
                    continue;
                }
                '?' | '+' => {
                    let last = items.last_mut().filter(|i| {
                        i.repeat == Repeat::Once && matches!(i.one, One::Char(_) | One::Set(_))
                    });
                    let Some(last) = last else {
                        return Err(format!(
                            "`{c}` repeats the character before it, and there is none to repeat"
                        ));
                    };
                    last.repeat = if c == '?' { Repeat::Optional } else { Repeat::Many };
                    continue;
                }
                '[' => One::Set(set(&mut chars)?),
                '\\' => One::Char(chars.next().unwrap_or('\\')),
                c => One::Char(c),
            };
            items.push(Item { one, repeat: Repeat::Once });
        }
        let odd_start = body.starts_with('?');
        Ok(Pattern { text: text.to_owned(), negated, place: Place::default(), odd_start, items })
    }

    /// Whether the whole name matches, `!` aside.
    pub fn matches(&self, name: &str) -> bool {
        // Positions in the pattern that the text read so far can have reached.
        let mut reached = vec![false; self.items.len() + 1];
        reached[0] = true;
        self.skip_optional(&mut reached);
        // Inside a `**/`, which may only be left after a `/`.
        let mut inside = vec![false; self.items.len() + 1];
        for c in name.chars() {
            let mut next = vec![false; self.items.len() + 1];
            let mut next_inside = vec![false; self.items.len() + 1];
            for (i, item) in self.items.iter().enumerate() {
                if item.repeat == Repeat::Folders {
                    if reached[i] || inside[i] {
                        next_inside[i] = true;
                        // A folder has a name: the first character is not the `/` that ends it.
                        if c == '/' && inside[i] {
                            next[i + 1] = true;
                        }
                    }
                    continue;
                }
                if !reached[i] || !item.one.accepts(c) {
                    continue;
                }
                match item.repeat {
                    Repeat::Once | Repeat::Optional => next[i + 1] = true,
                    Repeat::AnyTimes => next[i] = true,
                    Repeat::Many => {
                        next[i] = true;
                        next[i + 1] = true;
                    }
                    Repeat::Folders => {}
                }
            }
            self.skip_optional(&mut next);
            (reached, inside) = (next, next_inside);
        }
        reached[self.items.len()]
    }

    fn skip_optional(&self, reached: &mut [bool]) {
        for (i, item) in self.items.iter().enumerate() {
            let optional =
                matches!(item.repeat, Repeat::Optional | Repeat::AnyTimes | Repeat::Folders);
            if reached[i] && optional {
                reached[i + 1] = true;
            }
        }
    }
}

impl One {
    fn accepts(&self, c: char) -> bool {
        match self {
            One::Char(own) => *own == c,
            One::Set(ranges) => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)),
            One::Name => c != '/',
            One::Any => true,
        }
    }
}

fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Vec<(char, char)>, String> {
    let mut ranges = Vec::new();
    loop {
        let Some(c) = chars.next() else { return Err("`[` is not closed".into()) };
        if c == ']' {
            break;
        }
        if chars.peek() != Some(&'-') {
            ranges.push((c, c));
            continue;
        }
        chars.next();
        match chars.next() {
            None => return Err("`[` is not closed".into()),
            Some(']') => return Err(format!("the range `{c}-` has no end")),
            Some(end) if end < c => return Err(format!("the range `{c}-{end}` is reversed")),
            Some(end) => ranges.push((c, end)),
        }
    }
    if ranges.is_empty() {
        return Err("`[]` holds no character".into());
    }
    Ok(ranges)
}

/// Whether a name passes a list: the last pattern that matches wins; negative ones alone match
/// nothing.
pub fn any_matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().rev().find(|p| p.matches(name)).is_some_and(|p| !p.negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub runs public projects whose branches are `?.*.x`: no error, and `2.14.x` is one.
    #[test]
    fn a_question_mark_in_front() {
        let pattern = Pattern::parse("?.*.x").unwrap();
        assert!(pattern.matches("2.14.x"));
        assert!(!pattern.matches("main") && !pattern.matches("2.14.0"));
        assert!(Pattern::parse("a**?").is_err() && Pattern::parse("+a").is_err());
    }
}
