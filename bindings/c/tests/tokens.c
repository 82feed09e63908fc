/* Tokens of the program's own: asked for by a function, or by events, and answered from anywhere. The broker has no logins here, so
 * that a token that came shows by what the broker says to it. */
#include "test.h"

#include <pthread.h>

#define TOKEN "2YotnFZFEjr1zCsicMWpAA"

static ottla_config *bearer(void)
{
    ottla_config *cfg = ottla_config_new();
    OK(ottla_config_set(cfg, "bootstrap.servers", bootstrap(), &err));
    OK(ottla_config_set(cfg, "security.protocol", "SASL_PLAINTEXT", &err));
    OK(ottla_config_set(cfg, "sasl.mechanism", "OAUTHBEARER", &err));
    OK(ottla_config_set(cfg, "ottla.sasl.plain.without.tls", "true", &err));
    OK(ottla_config_set(cfg, "default.api.timeout.ms", "5000", &err));
    return cfg;
}

/* What describing the cluster fails with. */
static ottla_error *denied(const ottla_config *cfg)
{
    ottla_admin *admin = NULL;
    ottla_error *why = NULL;
    OK(ottla_admin_new(cfg, &admin, &err));
    CHECK(ottla_call_wait(ottla_admin_describe_cluster(admin), 20000, NULL, &why) == OTTLA_E_AUTHENTICATION);
    ottla_admin_free(admin);
    return why;
}

static void refuse(ottla_token_request *request, void *user)
{
    ++*(int *)user;
    ottla_token_request_fail(request, "the vault is sealed", 0);
}

static void let_go_of(ottla_token_request *request, void *user)
{
    *(ottla_token_request **)user = request;
}

static void a_function_says_why_there_is_no_token(void)
{
    ottla_config *cfg = bearer();
    int asked = 0;
    OK(ottla_config_set_token_fn(cfg, refuse, &asked, &err));
    ottla_error *why = denied(cfg);
    CHECK(strstr(ottla_error_message(why), "the vault is sealed") && asked == 1);
    ottla_error_free(why);
    ottla_config_free(cfg);
}

static void *answer(void *queue)
{
    ottla_event event;
    CHECK(ottla_queue_drain(queue, &event, 1, 10000) == 1 && event.kind == OTTLA_EV_TOKEN_REQUEST && event.token == 7);
    const char *extensions[] = {"tenant", "a"};
    OK(ottla_token_request_give(event.object, TOKEN, 4102444800000, "alice", extensions, 1, &err));
    return NULL;
}

static void a_token_that_another_thread_gives_goes_to_the_broker(void)
{
    ottla_config *cfg = bearer();
    ottla_queue *q = queue();
    pthread_t thread;
    OK(ottla_config_set_token_queue(cfg, q, 7, &err));
    CHECK(pthread_create(&thread, NULL, answer, q) == 0);
    ottla_error *why = denied(cfg);
    CHECK(strstr(ottla_error_message(why), "nobody logs in at this listener"));
    CHECK(!strstr(ottla_error_message(why), TOKEN));
    ottla_error_free(why);
    pthread_join(thread, NULL);
    ottla_config_free(cfg);
    ottla_queue_free(q);
}

static void a_request_that_nobody_answers_is_given_up(void)
{
    ottla_config *cfg = bearer();
    ottla_token_request *kept = NULL;
    ottla_admin *admin = NULL;
    ottla_error *why = NULL;
    OK(ottla_config_set(cfg, "sasl.login.read.timeout.ms", "200", &err));
    OK(ottla_config_set(cfg, "default.api.timeout.ms", "1000", &err));
    OK(ottla_config_set(cfg, "sasl.login.retry.backoff.ms", "60000", &err));
    OK(ottla_config_set_token_fn(cfg, let_go_of, &kept, &err));
    OK(ottla_admin_new(cfg, &admin, &err));
    CHECK(ottla_call_wait(ottla_admin_describe_cluster(admin), 20000, NULL, &why) == OTTLA_E_AUTHENTICATION);
    CHECK(strstr(ottla_error_message(why), "within 200 ms") && (ottla_error_flags(why) & OTTLA_ERR_RETRIABLE));
    ottla_error_free(why);
    /* An answer that comes too late does nothing. */
    OK(ottla_token_request_give(kept, TOKEN, -1, NULL, NULL, 0, &err));
    FAILS(OTTLA_E_INVALID_ARG, ottla_token_request_give(NULL, TOKEN, -1, NULL, NULL, 0, &err));
    ottla_token_request_fail(NULL, "x", 0);
    ottla_admin_free(admin);
    ottla_config_free(cfg);
}

int main(void)
{
    RUN(a_function_says_why_there_is_no_token);
    RUN(a_token_that_another_thread_gives_goes_to_the_broker);
    RUN(a_request_that_nobody_answers_is_given_up);
    return 0;
}
