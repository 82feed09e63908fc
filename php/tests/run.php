<?php

// Runs the tests beside this file: each class's methods that begin with `test`. An argument picks those whose name contains it.

declare(strict_types=1);

// Over the sources, or the package that this names.
putenv('OTTLA_AUTOLOAD=' . (getenv('OTTLA_AUTOLOAD') ?: dirname(__DIR__) . '/autoload.php'));
require getenv('OTTLA_AUTOLOAD');
require __DIR__ . '/TestCase.php';

set_error_handler(static function (int $severity, string $message, string $file, int $line): bool {
    throw new ErrorException($message, 0, $severity, $file, $line);
});

$failed = $passed = 0;
foreach (glob(__DIR__ . '/*Test.php') as $file) {
    require $file;
    $class = 'Ottla\Tests\\' . basename($file, '.php');
    foreach (get_class_methods($class) as $method) {
        $name = basename($file, '.php') . "::{$method}";
        if (!str_starts_with($method, 'test') || !str_contains($name, $argv[1] ?? '')) {
            continue;
        }
        $began = hrtime(true);
        try {
            (new $class($method))->{$method}();
            $passed++;
            printf("ok %s (%.2f s)\n", $name, (hrtime(true) - $began) / 1e9);
        } catch (Throwable $error) {
            $failed++;
            echo "FAILED {$name}\n{$error}\n";
        }
    }
}
Ottla\Tests\TestCase::stop();
echo "{$passed} passed, {$failed} failed\n";
exit($failed === 0 ? 0 : 1);
