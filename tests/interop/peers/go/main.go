// franz-go behind the verbs of ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

// record is a line of JSON; encoding/json writes bytes as base64, and nil as null.
type record struct {
	Partition int32    `json:"partition"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []header `json:"headers"`
}

// header is a pair of name and value.
type header struct {
	name  string
	value []byte
}

func (h header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *header) UnmarshalJSON(text []byte) error {
	pair := []any{&h.name, &h.value}
	return json.Unmarshal(text, &pair)
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "codecs":
		for name := range codecs {
			fmt.Println(name)
		}
	case len(os.Args) == 5 && os.Args[1] == "produce":
		err = produce(ctx, os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 5 && os.Args[1] == "consume":
		err = consume(ctx, os.Args[2], os.Args[3], os.Args[4])
	default:
		err = fmt.Errorf("usage: peer codecs | produce BOOTSTRAP TOPIC CODEC | consume BOOTSTRAP TOPIC COUNT")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func produce(ctx context.Context, bootstrap, topic, codec string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.DefaultProduceTopic(topic),
		kgo.AllowAutoTopicCreation(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	var failed error
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		out := &kgo.Record{Partition: r.Partition, Timestamp: time.UnixMilli(r.Timestamp), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		client.Produce(ctx, out, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed
}

func consume(ctx context.Context, bootstrap, topic, countText string) error {
	count, err := strconv.Atoi(countText)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := json.NewEncoder(out)
	for count > 0 {
		fetches := client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			return failure.Err
		}
		for _, m := range fetches.Records() {
			r := record{m.Partition, m.Timestamp.UnixMilli(), m.Key, m.Value, []header{}}
			for _, h := range m.Headers {
				r.Headers = append(r.Headers, header{h.Key, h.Value})
			}
			if err := lines.Encode(r); err != nil {
				return err
			}
			count--
		}
	}
	return nil
}
