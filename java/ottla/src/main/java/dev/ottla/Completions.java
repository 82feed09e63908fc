package dev.ottla;

import java.io.IOException;
import java.lang.ref.WeakReference;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Where all that takes time comes to its end: one daemon thread, which takes what has ended from the native half, many things at a time,
 * completes futures and calls callbacks. It lives as long as there are clients, or calls of them.
 */
final class Completions implements Runnable {
    private static final Logger LOG = LoggerFactory.getLogger("dev.ottla");
    /** How long the thread waits where nothing is due. */
    private static final long IDLE_NANOS = TimeUnit.SECONDS.toNanos(5);

    /** The one of this class loader. */
    static final Completions SHARED = new Completions();

    private final long queue = Native.queueNew();
    private final AtomicLong tokens = new AtomicLong();
    private final Map<Long, Started<?>> started = new ConcurrentHashMap<>();
    private final Map<Long, Client> clients = new ConcurrentHashMap<>();
    /** Those who give tokens, by number, as long as a client has them. */
    private final Map<Long, WeakReference<OAuthBearerProvider>> providers = new ConcurrentHashMap<>();
    /** From whom a client gets its tokens. */
    private final Map<Long, OAuthBearerProvider> bearers = new ConcurrentHashMap<>();
    private final Queue<Due> due = new ConcurrentLinkedQueue<>();
    /** The thread is about to wait without looking at {@link #due}. */
    private volatile boolean isDozing;
    private volatile Thread thread;

    /** A client that is told what happens to it; not the program's object, which may be forgotten. */
    interface Client {
        /** Deliveries of a producer. */
        default void delivered(In in) {}

        /** There may be records. */
        default void ready() {}

        /** A step of a rebalance; the group waits until it is let go. */
        default void rebalance(Rebalance rebalance) {}
    }

    /** Something that is done by the thread when its time has come. */
    interface Due {
        /** Does what is due; answers after how many nanoseconds to come again, below zero for not at all. */
        long run(long nowNanos);
    }

    /** Starts a call of the native half. */
    interface Starter {
        void start(long queue, long token);
    }

    private record Started<T>(CompletableFuture<T> future, Function<In, T> read) {
        void end(OttlaException failure, In in) {
            try {
                if (failure != null) {
                    future.completeExceptionally(failure);
                } else {
                    future.complete(read.apply(in));
                }
            } catch (RuntimeException e) {
                future.completeExceptionally(e);
            }
        }
    }

    private Completions() {
        Native.queueLog(queue, level());
    }

    long queue() {
        return queue;
    }

    /** Starts a call; the future ends when it does. */
    <T> CompletableFuture<T> start(Starter starter, Function<In, T> read) {
        CompletableFuture<T> future = new CompletableFuture<>();
        long token = tokens.incrementAndGet();
        started.put(token, new Started<>(future, read));
        // One that is let go before its end needs no entry.
        future.whenComplete((value, failure) -> started.remove(token));
        starter.start(queue, token);
        return future;
    }

    /** From now on it is told; the thread lives at least as long as it. */
    synchronized void add(long number, Client client) {
        clients.put(number, client);
        if (thread == null) {
            thread = new Thread(this, "ottla-completions");
            thread.setDaemon(true);
            // Not that of whoever makes the first client, whose class loader it would keep.
            thread.setContextClassLoader(Completions.class.getClassLoader());
            thread.start();
        }
    }

    /** As {@link #add(long, Client)}, with who gives it its tokens, or null. */
    void add(long number, Client client, OAuthBearerProvider provider) {
        if (provider != null) {
            bearers.put(number, provider);
        }
        add(number, client);
    }

    /** A number for who gives tokens, until no client has it any more. */
    long number(OAuthBearerProvider provider) {
        providers.values().removeIf(known -> known.get() == null);
        long number = tokens.incrementAndGet();
        providers.put(number, new WeakReference<>(provider));
        return number;
    }

    /** It is told no more. */
    void remove(long number) {
        clients.remove(number);
        bearers.remove(number);
        if (clients.isEmpty()) {
            Native.queueNudge(queue);
        }
    }

    /** Has something done when it is due, and again until it says that nothing is. */
    void add(Due something) {
        due.add(something);
        if (isDozing) {
            Native.queueNudge(queue);
        }
    }

    /** Whether this is the thread, which must not wait for what itself would bring about. */
    boolean isCurrent() {
        return Thread.currentThread() == thread;
    }

    /** Waits for a call. */
    <T> T await(CompletableFuture<T> future, long timeoutNanos) {
        if (isCurrent() && !future.isDone()) {
            throw new IllegalStateException("a callback cannot wait for this, as it runs on the thread that would bring it about;"
                    + " use the form that gives a future, or an executor of your own");
        }
        try {
            return timeoutNanos == Long.MAX_VALUE ? future.get() : future.get(timeoutNanos, TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new InterruptException("the thread was interrupted while it waited", e);
        } catch (TimeoutException e) {
            throw OttlaException.of(ErrorCode.TIMEOUT, "it was not done in the time given");
        } catch (ExecutionException e) {
            throw OttlaException.rethrown(e.getCause());
        }
    }

    @Override
    public void run() {
        while (true) {
            synchronized (this) {
                if (clients.isEmpty() && started.isEmpty()) {
                    thread = null;
                    return;
                }
            }
            try {
                isDozing = true;
                long wait = runDue();
                byte[] events = Native.queueTake(queue, wait);
                isDozing = false;
                if (events != null) {
                    take(In.answer(events));
                }
            } catch (Throwable e) {
                // Of a callback that throws others are not to suffer.
                LOG.error("something that was completed has failed", e);
            }
        }
    }

    /** Does what is due, and says for how long nothing is. */
    private long runDue() {
        long wait = IDLE_NANOS;
        if (due.isEmpty()) {
            return wait;
        }
        long now = System.nanoTime();
        for (var each = due.iterator(); each.hasNext(); ) {
            long again = each.next().run(now);
            if (again < 0) {
                each.remove();
            } else {
                wait = Math.min(wait, again);
            }
        }
        return wait;
    }

    private void take(In in) {
        while (in.hasMore()) {
            switch (in.u8()) {
                case 1 -> ended(in);
                case 2 -> {
                    Client client = clients.get(in.i64());
                    In deliveries = in.blob();
                    if (client != null) {
                        client.delivered(deliveries);
                    }
                }
                case 3 -> {
                    Client client = clients.get(in.i64());
                    if (client != null) {
                        client.ready();
                    }
                }
                case 4 -> {
                    Client client = clients.get(in.i64());
                    Rebalance rebalance = new Rebalance(in.i64(), Rebalance.Kind.values()[in.u8()], in.partitions());
                    if (client != null) {
                        client.rebalance(rebalance);
                    } else {
                        rebalance.done();
                    }
                }
                case 6 -> giveToken(providers.get(in.i64()), in.i64());
                case 5 -> log(in.u8(), in.text(), in.text());
                default -> throw new IllegalStateException("the native library is of another release than the jar");
            }
        }
    }

    /** Asks for a token, on a thread that may take its time. */
    private static void giveToken(WeakReference<OAuthBearerProvider> known, long request) {
        OAuthBearerProvider provider = known == null ? null : known.get();
        if (provider == null) {
            failToken(request, "the client is gone", true);
            return;
        }
        Thread asking = new Thread(() -> {
            try {
                OAuthBearerToken token = provider.token();
                long endMs = token.expires() == null ? -1 : token.expires().toEpochMilli();
                String principal = token.principal() == null ? "" : token.principal();
                In.answer(Native.tokenGive(request, new Out()
                        .text(token.value()).i64(endMs).text(principal).map(token.extensions(), Out::text, Out::text).bytes()));
            } catch (Throwable e) {
                boolean passes = e instanceof IOException || e instanceof OttlaException failure && failure.isRetriable();
                failToken(request, e.toString(), passes);
            }
        }, "ottla-token");
        asking.setDaemon(true);
        asking.start();
    }

    private static void failToken(long request, String why, boolean passes) {
        In.answer(Native.tokenFail(request, new Out().text(why).bool(passes).bytes()));
    }

    private void ended(In in) {
        Started<?> call = started.remove(in.i64());
        OttlaException failure = in.failure();
        In value = failure == null ? in.blob() : null;
        if (call != null) {
            call.end(failure, value);
        }
    }

    /** How much of the native half's log anybody wants. */
    private static int level() {
        if (LOG.isTraceEnabled()) {
            return 5;
        }
        if (LOG.isDebugEnabled()) {
            return 4;
        }
        if (LOG.isInfoEnabled()) {
            return 3;
        }
        if (LOG.isWarnEnabled()) {
            return 2;
        }
        return LOG.isErrorEnabled() ? 1 : 0;
    }

    private static void log(int level, String target, String text) {
        Logger logger = LoggerFactory.getLogger("dev." + target);
        switch (level) {
            case 1 -> logger.error(text);
            case 2 -> logger.warn(text);
            case 3 -> logger.info(text);
            case 4 -> logger.debug(text);
            default -> logger.trace(text);
        }
    }
}
