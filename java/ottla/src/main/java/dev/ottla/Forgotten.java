package dev.ottla;

import java.lang.ref.Cleaner;
import java.util.concurrent.atomic.AtomicReference;

/** Frees what belongs to objects that a program has forgotten without closing them. */
final class Forgotten {
    private static final Cleaner CLEANER = Cleaner.create();

    private final Cleaner.Cleanable cleanable;
    private final AtomicReference<Runnable> free;

    private Forgotten(Cleaner.Cleanable cleanable, AtomicReference<Runnable> free) {
        this.cleanable = cleanable;
        this.free = free;
    }

    /** Has {@code free}, which must not know {@code object}, run once nobody has that any more. */
    static Forgotten watch(Object object, Runnable free) {
        AtomicReference<Runnable> left = new AtomicReference<>(free);
        Cleaner.Cleanable cleanable = CLEANER.register(object, () -> {
            Runnable now = left.getAndSet(null);
            if (now != null) {
                now.run();
            }
        });
        return new Forgotten(cleanable, left);
    }

    /** It was closed: there is nothing to free. */
    void cancel() {
        free.set(null);
        cleanable.clean();
    }
}
