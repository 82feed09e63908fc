// A load of franz-go's, for `cargo xtask bench`: ../README.md says how the two talk.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How many different values there are; more than any batch holds.
const valueCount = 20_000

// Records that may wait in the producer.
const bufferedRecordsMax = 200_000

var (
	bootstrap  = flag.String("bootstrap", "", "the broker's address")
	topic      = flag.String("topic", "", "the topic")
	partitions = flag.Int("partitions", 6, "its partitions")
	codec      = flag.String("codec", "none", "none, lz4 or zstd")
	count      = flag.Int("records", 0, "records to write, or to read in each pass")
	passes     = flag.Int("passes", 1, "how often the topic is read")
	group      = flag.String("group", "", "read in groups whose names begin so, one a pass; by assignment without it")
	valueBytes = flag.Int("value-bytes", 100, "bytes of a record's value")
	batchBytes = flag.Int("batch-bytes", 128*1024, "largest batch")
	linger     = flag.Duration("linger", 5*time.Millisecond, "how long a batch may gather")
	ca         = flag.String("ca", "", "connect by TLS, and trust what this file's certificates have signed")
)

var driver = bufio.NewReader(os.Stdin)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: bench create|produce|consume|delete FLAGS")
	}
	verb := os.Args[1]
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	var err error
	switch verb {
	case "create":
		err = create(ctx)
	case "produce":
		err = produce(ctx)
	case "consume":
		err = consume(ctx)
	case "delete":
		err = remove(ctx)
	default:
		err = fmt.Errorf("there is no verb `%s`", verb)
	}
	if err != nil {
		log.Fatalf("%s: %v", verb, err)
	}
}

func produce(ctx context.Context) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	chosen, known := codecs[*codec]
	if !known {
		return fmt.Errorf("there is no codec `%s`", *codec)
	}
	values := logLines(valueCount, *valueBytes)
	client, err := connect(
		kgo.DefaultProduceTopic(*topic),
		kgo.ProducerBatchCompression(chosen),
		kgo.ProducerLinger(*linger),
		kgo.ProducerBatchMaxBytes(int32(*batchBytes)),
		kgo.MaxBufferedRecords(bufferedRecordsMax),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	// The connection, the producer id and the topic's metadata are there before the clock starts.
	if err := client.ProduceSync(ctx, kgo.SliceRecord(values[0])).FirstErr(); err != nil {
		return err
	}
	if err := waitForDriver("ready"); err != nil {
		return err
	}
	began := time.Now()
	var failed atomic.Pointer[error]
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	for i := range *count {
		client.Produce(ctx, &kgo.Record{Value: values[i%len(values)]}, acknowledged)
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return report(*count, time.Since(began))
}

func consume(ctx context.Context) error {
	if err := waitForDriver("ready"); err != nil {
		return err
	}
	began := time.Now()
	read := 0
	for pass := range *passes {
		n, err := readTopic(ctx, pass)
		if err != nil {
			return err
		}
		read += n
	}
	return report(read, time.Since(began))
}

// readTopic reads from the beginning until `count` records came.
func readTopic(ctx context.Context, pass int) (int, error) {
	from := map[int32]kgo.Offset{}
	for p := range *partitions {
		from[int32(p)] = kgo.NewOffset().AtStart()
	}
	reading := []kgo.Opt{kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{*topic: from})}
	if *group != "" {
		reading = []kgo.Opt{
			kgo.ConsumerGroup(fmt.Sprintf("%s-%d", *group, pass)),
			kgo.ConsumeTopics(*topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		}
	}
	client, err := connect(reading...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	read := 0
	for read < *count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return read, err
		}
		var wrong error
		fetches.EachRecord(func(record *kgo.Record) {
			read++
			if len(record.Value) != *valueBytes {
				wrong = fmt.Errorf("a value of %d bytes at offset %d", len(record.Value), record.Offset)
			}
		})
		if wrong != nil {
			return read, wrong
		}
	}
	return read, nil
}

func create(ctx context.Context) error {
	wanted := kmsg.NewCreateTopicsRequestTopic()
	wanted.Topic, wanted.NumPartitions, wanted.ReplicationFactor = *topic, int32(*partitions), 1
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics = append(request.Topics, wanted)
	client, err := connect()
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
}

func remove(ctx context.Context) error {
	doomed := kmsg.NewDeleteTopicsRequestTopic()
	doomed.Topic = topic
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.Topics, request.TopicNames = append(request.Topics, doomed), []string{*topic}
	client, err := connect()
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.Topics[0].ErrorCode)
}

func connect(options ...kgo.Opt) (*kgo.Client, error) {
	if *ca != "" {
		certificates, err := os.ReadFile(*ca)
		if err != nil {
			return nil, err
		}
		trusted := x509.NewCertPool()
		if !trusted.AppendCertsFromPEM(certificates) {
			return nil, fmt.Errorf("`%s` has no certificates", *ca)
		}
		options = append(options, kgo.DialTLSConfig(&tls.Config{RootCAs: trusted}))
	}
	return kgo.NewClient(append(options, kgo.SeedBrokers(*bootstrap))...)
}

// waitForDriver prints a line and waits until the driver has looked at the clocks.
func waitForDriver(line string) error {
	fmt.Println(line)
	_, err := driver.ReadString('\n')
	return err
}

func report(records int, took time.Duration) error {
	line, err := json.Marshal(map[string]any{"records": records, "wall_s": took.Seconds()})
	if err != nil {
		return err
	}
	return waitForDriver(string(line))
}

// logLines makes values that look like a service's log, so that a codec finds in them what it finds in real ones:
// few words that come again, and numbers that do not. They are the same in every run.
func logLines(n, size int) [][]byte {
	random := rand.New(rand.NewPCG(20, 24))
	pick := func(words ...string) string { return words[random.IntN(len(words))] }
	clock := int64(1_760_000_000_000)
	lines := make([][]byte, 0, n)
	for range n {
		clock += random.Int64N(50)
		line := fmt.Appendf(nil, "%d %s %s trace=%016x %s/%d %dms ", clock, pick("INFO", "INFO", "INFO", "DEBUG", "WARN"),
			pick("billing", "catalog", "edge", "identity", "shipping"), random.Uint64(),
			pick("GET /v1/orders", "PUT /v1/baskets", "GET /v2/users", "POST /v1/quotes"), random.IntN(1_000_000),
			random.IntN(3000))
		for len(line) < size {
			line = append(line, pick("accepted", "cached", "retried", "timeout", "upstream", "queue", "reserved", "paid")...)
			line = append(line, ' ')
			if random.IntN(6) == 0 {
				line = fmt.Appendf(line, "v%d=%08x ", random.IntN(100), random.Uint32())
			}
		}
		lines = append(lines, line[:size:size])
	}
	return lines
}
