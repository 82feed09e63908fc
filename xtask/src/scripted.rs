//! Ruby and PHP: packages that are sources over libottla, with the library and the program for this machine among them; and their tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::{
    package::{PACKAGES, done},
    platform::{Build, Platform, TEST_PROFILE},
    test::{Run, Tally, install},
    tree,
};

/// A package.
pub struct Scripted {
    /// Its language: where it is in the repository, and in `target/packages`.
    language: &'static str,
    /// What of it is shipped.
    shipped: &'static [&'static str],
    /// Where the natives are in it.
    natives: &'static str,
    /// Programs that its tests need, with Debian's packages.
    needs: &'static [(&'static str, &'static str)],
    /// What must run well, for all to be there.
    works: &'static [&'static str],
    /// What is said to be missing.
    missing: &'static str,
    /// Runs its tests, over the package in the folder.
    tests: fn(&Path) -> Command,
    /// Runs its service of `examples/one_bus`, over the package in the folder.
    service: fn(&Path) -> Command,
}

/// The gem. Debian has `ffi` and minitest without RubyGems.
pub const RUBY: Scripted = Scripted {
    language: "ruby",
    shipped: &["lib", "README.md", "ottla.gemspec"],
    natives: "lib/ottla/native",
    needs: &[("ruby", "ruby"), ("ruby-ffi", "ruby-ffi"), ("ruby-minitest", "ruby-minitest")],
    works: &["ruby", "-rffi", "-rminitest", "-e", "exit(RUBY_VERSION >= '3.1')"],
    missing: "Ruby 3.1 or later with `ffi` and minitest (Debian's ruby, ruby-ffi, ruby-minitest)",
    tests: |package| {
        let mut ruby = Command::new("ruby");
        ruby.args(["-w", "-r", "timeout", "-I"]).arg(package.join("lib")).arg(tree::path("ruby/test/all.rb"));
        ruby
    },
    service: |package| {
        let mut ruby = Command::new("ruby");
        ruby.arg("-I").arg(package.join("lib")).arg(tree::path("examples/one_bus/ruby/main.rb"));
        ruby
    },
};

/// The package for Composer.
pub const PHP: Scripted = Scripted {
    language: "php",
    shipped: &["src", "README.md", "composer.json", "autoload.php"],
    natives: "native",
    needs: &[("php", "php-cli")],
    works: &[
        "php",
        "-r",
        "exit(PHP_VERSION_ID >= 80200 && extension_loaded('ffi') && extension_loaded('pcntl') ? 0 : 1);",
    ],
    missing: "PHP 8.2 or later with FFI and pcntl (Debian's php-cli)",
    tests: |package| {
        let mut php = Command::new("php");
        php.arg(tree::path("php/tests/run.php")).env("OTTLA_AUTOLOAD", package.join("autoload.php"));
        php
    },
    service: |package| {
        let mut php = Command::new("php");
        php.arg(tree::path("examples/one_bus/php/main.php"))
            .env("OTTLA_AUTOLOAD", package.join("autoload.php"));
        php
    },
};

impl Scripted {
    /// Puts the package for this machine into `target/packages`, and packs it; gives the archive.
    pub fn package(&self, profile: &str) -> anyhow::Result<PathBuf> {
        self.package_of(&Build::here(profile)?)
    }

    /// Makes the package's folder, and packs it beside that; gives the archive.
    pub fn package_of(&self, build: &Build) -> anyhow::Result<PathBuf> {
        build.cargo(&["ottla-c", "ottla-cli"])?;
        let packages = build.out();
        let at = packages.join(self.language);
        let _ = fs::remove_dir_all(&at);
        for shipped in self.shipped {
            copy(&tree::path(self.language).join(shipped), &at.join(shipped))?;
        }
        for document in ["LICENSE", "NOTICE"] {
            copy(&tree::path(document), &at.join(document))?;
        }
        let natives = at.join(self.natives);
        let platform = build.platform;
        let library =
            if platform.is_linux() { "libottla.so.1".to_owned() } else { platform.library("ottla") };
        copy(&build.built().join(platform.library("ottla_c")), &natives.join(library))?;
        let program = platform.program("ottla");
        copy(&build.built().join(&program), &natives.join(&program))?;
        let archive = packages.join(self.archive_of(platform));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg(self.language).current_dir(&packages);
        done(tar, &format!("packing the package for {}", self.language))?;
        Ok(archive)
    }

    /// What the package of a platform is called.
    pub fn archive_of(&self, platform: Platform) -> String {
        format!("ottla-{}-{}-{}.tar.gz", self.language, env!("CARGO_PKG_VERSION"), platform.archive())
    }

    /// Makes the package, and runs its tests.
    pub fn lane(&self, run: &Run) -> anyhow::Result<Tally> {
        if !self.is_working() {
            install(self.needs);
        }
        if !self.is_working() {
            return Ok(run.missing(self.missing));
        }
        self.package(TEST_PROFILE)?;
        let package = tree::path(PACKAGES).join(self.language);
        let told = (self.tests)(&package)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("running {}", self.language))?;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        print!("{text}");
        let tally = counted(&text).context("the tests did not come to their end")?;
        ensure!(told.status.success() || tally.failed > 0, "the tests ended with {}", told.status);
        Ok(tally)
    }

    /// What it needs, if that is not there. Fetches nothing.
    pub fn missing(&self) -> Option<&'static str> {
        (!self.is_working()).then_some(self.missing)
    }

    /// Makes the package, and gives its service of `examples/one_bus`.
    pub fn service(&self) -> anyhow::Result<Command> {
        self.package(TEST_PROFILE)?;
        Ok((self.service)(&tree::path(PACKAGES).join(self.language)))
    }

    fn is_working(&self) -> bool {
        let (program, arguments) = (self.works[0], &self.works[1..]);
        Command::new(program)
            .args(arguments)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// `31 passed, 1 failed` of PHP's tests, or minitest's `38 runs, 169 assertions, 0 failures, 0 errors, 0 skips`.
fn counted(text: &str) -> Option<Tally> {
    let line = text.lines().rev().find(|line| line.contains(" passed, ") || line.contains(" runs, "))?;
    let count = |word: &str| -> usize {
        let number = line.split(", ").find_map(|part| part.trim().strip_suffix(word));
        number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    let failed = count("failed") + count("failures") + count("errors");
    let (runs, skipped) = (count("runs"), count("skips"));
    Some(Tally { passed: count("passed") + runs.saturating_sub(failed + skipped), failed, skipped })
}

/// A file, or a folder with all in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(from, to).with_context(|| format!("copying `{}`", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn closing_lines_are_counted() {
        let tally = |text| counted(text).map(|tally| (tally.passed, tally.failed, tally.skipped));
        assert_eq!(tally("ok\n31 passed, 1 failed\n"), Some((31, 1, 0)));
        assert_eq!(tally("38 runs, 169 assertions, 2 failures, 1 errors, 3 skips\n"), Some((32, 3, 3)));
        assert_eq!(tally("Fatal error\n"), None);
    }
}
