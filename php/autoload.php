<?php

declare(strict_types=1);

// Finds the package's classes where there is no Composer, by the rules of composer.json.
spl_autoload_register(static function (string $class): void {
    if (!str_starts_with($class, 'Ottla\\')) {
        return;
    }
    $file = __DIR__ . '/src/' . strtr(substr($class, strlen('Ottla\\')), '\\', '/') . '.php';
    if (is_file($file)) {
        require_once $file;
    } elseif (str_starts_with($class, 'Ottla\\Exception\\')) {
        require_once __DIR__ . '/src/Exception/classes.php';
    } else {
        require_once __DIR__ . '/src/values.php';
    }
});
