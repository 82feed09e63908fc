//! The fenced blocks of a page, each with what is to become of it. Nothing but `std`: the build script reads pages, too.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A fenced block that names its language.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    /// The first word behind the fence: `python`.
    pub language: String,
    /// Where its fence stands, counted from 1.
    pub line: usize,
    /// What is in it.
    pub text: String,
    /// What is to become of it.
    pub fate: Fate,
}

/// What is to become of a block, as the comments before its fence say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It is run.
    Run {
        /// What it must print, each part of a line: `<!-- prints: ... -->`.
        prints: Vec<String>,
        /// What it must print, and is ended then, since it would go on for ever: `<!-- until: ... -->`.
        until: Option<String>,
    },
    /// It is not run, for this reason: `<!-- not run: ... -->`.
    NotRun(String),
}

/// The pages that have snippets: every README of a language, and the guide.
///
/// # Errors
///
/// If the guide cannot be listed.
pub fn pages(root: &Path) -> io::Result<Vec<PathBuf>> {
    let readmes = [
        "README.md",
        "bindings/c/README.md",
        "java/README.md",
        "node/README.md",
        "php/README.md",
        "python/README.md",
        "ruby/README.md",
    ];
    let mut pages: Vec<PathBuf> =
        readmes.iter().map(PathBuf::from).filter(|page| root.join(page).is_file()).collect();
    let mut guide: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(root.join("docs/guide"))? {
        let name = entry?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            guide.push(Path::new("docs/guide").join(name));
        }
    }
    guide.sort();
    pages.append(&mut guide);
    Ok(pages)
}

/// The blocks of a page that name a language, in order.
///
/// # Errors
///
/// Says in words what is wrong with the page, and in which line: a fence without end, a comment that means nothing.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut comments: Vec<&str> = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(fence) = line.strip_prefix("```") {
            let language = fence.split_whitespace().next().unwrap_or_default().to_owned();
            let mut text = String::new();
            loop {
                match lines.next() {
                    Some(("```", _)) => break,
                    Some((line, _)) => text = text + line + "\n",
                    None => return Err(format!("line {number}: the fence has no end")),
                }
            }
            let fate = fate(&comments).map_err(|what| format!("line {number}: {what}"))?;
            if !language.is_empty() {
                blocks.push(Block { language, line: number, text, fate });
            }
        }
        match line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            Some(comment) => comments.push(comment),
            None => comments.clear(),
        }
    }
    Ok(blocks)
}

fn fate(comments: &[&str]) -> Result<Fate, String> {
    let (mut prints, mut until, mut not_run) = (Vec::new(), None, None);
    for comment in comments {
        match comment.split_once(": ") {
            Some(("prints", text)) => prints.push(text.to_owned()),
            Some(("until", text)) => until = Some(text.to_owned()),
            Some(("not run", reason)) => not_run = Some(reason.to_owned()),
            _ => return Err(format!("`{comment}` is neither `prints:` nor `until:` nor `not run:`")),
        }
    }
    match not_run {
        None => Ok(Fate::Run { prints, until }),
        Some(_) if until.is_some() || !prints.is_empty() => Err("what is not run prints nothing".to_owned()),
        Some(reason) => Ok(Fate::NotRun(reason)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn blocks_are_found_with_what_the_comments_before_them_say() {
        let page = "# A page\n\n<!-- until: two apples -->\n<!-- prints: one -->\n```python\nloop()\n\n```\n\n\
                    ```\nno language\n```\n<!-- not run: it installs -->\n```sh\npip install x\n```\n```rust\n```\n";
        let found = blocks(page).unwrap();
        let run = |prints: &[&str], until: Option<&str>| Fate::Run {
            prints: prints.iter().map(|&text| text.to_owned()).collect(),
            until: until.map(str::to_owned),
        };
        let told: Vec<(&str, usize, &str, Fate)> =
            found.iter().map(|b| (b.language.as_str(), b.line, b.text.as_str(), b.fate.clone())).collect();
        assert_eq!(
            told,
            [
                ("python", 5, "loop()\n\n", run(&["one"], Some("two apples"))),
                ("sh", 14, "pip install x\n", Fate::NotRun("it installs".to_owned())),
                ("rust", 17, "", run(&[], None)),
            ]
        );
    }

    #[test]
    fn what_a_page_does_not_mean_is_refused() {
        let refused = |page| blocks(page).unwrap_err();
        assert!(refused("```c\nint x;\n").contains("line 1: the fence has no end"));
        assert!(refused("<!-- print: x -->\n```c\n```\n").contains("`print: x` is neither"));
        assert!(refused("<!-- not run: y -->\n<!-- prints: x -->\n```c\n```\n").contains("prints nothing"));
    }
}
