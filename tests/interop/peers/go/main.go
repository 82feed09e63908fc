// franz-go behind the verbs of ../README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 60 * time.Second

// As short as a broker takes by default, so that a dead member is soon known.
const sessionTimeout = 6 * time.Second

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
	case len(os.Args) == 5 && os.Args[1] == "member":
		err = member(os.Args[2], os.Args[3], os.Args[4], false)
	case len(os.Args) == 6 && os.Args[1] == "member" && os.Args[5] == "consumer":
		err = member(os.Args[2], os.Args[3], os.Args[4], true)
	case len(os.Args) == 7 && os.Args[1] == "load":
		err = load(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 5 && os.Args[1] == "loaded":
		err = loaded(ctx, os.Args[2], os.Args[3], os.Args[4])
	default:
		err = fmt.Errorf("usage: peer codecs | produce BOOTSTRAP TOPIC CODEC | consume BOOTSTRAP TOPIC COUNT" +
			" | member BOOTSTRAP TOPIC GROUP [consumer]" +
			" | load BOOTSTRAP TOPIC PARTITIONS KEYS PAUSE_MS | loaded BOOTSTRAP TOPIC COUNT")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// member is in a group until stdin ends; it prints what it is given and commits it.
func member(bootstrap, topic, group string, consumerProtocol bool) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumeTopics(topic),
		kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(sessionTimeout / 10),
		kgo.BlockRebalanceOnPoll(),
	}
	if consumerProtocol {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	ctx, end := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		end()
	}()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 100)
		fetches.EachRecord(func(r *kgo.Record) { fmt.Println(r.Partition, r.Offset) })
		if !fetches.Empty() {
			// It fails where the group rebalances: whoever gets the partition reads the records again.
			_ = client.CommitUncommittedOffsets(context.Background())
		}
		client.AllowRebalance()
	}
	return nil
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

// loadValueBytes is the length of a value under load: a few thousand fill the smallest segment.
const loadValueBytes = 400

// load keeps an idempotent producer for each codec at work on all partitions until stdin ends, whatever becomes of
// the broker meanwhile. The first record that fails for good ends it with an error.
func load(bootstrap, topic string, texts []string) error {
	var numbers [3]int64
	for i, text := range texts {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		numbers[i] = number
	}
	partitions, keys, pause := int32(numbers[0]), numbers[1], time.Duration(numbers[2])*time.Millisecond
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	out := &lines{to: bufio.NewWriter(os.Stdout)}
	var producers sync.WaitGroup
	for name, codec := range codecs {
		client, err := kgo.NewClient(
			kgo.SeedBrokers(bootstrap),
			kgo.DefaultProduceTopic(topic),
			kgo.AllowAutoTopicCreation(),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(codec),
			kgo.ProducerLinger(2*time.Millisecond),
			kgo.ProducerBatchMaxBytes(64<<10),
			kgo.MaxBufferedRecords(3000),
			kgo.StopProducerOnDataLossDetected(),
			// A kill in a handshake looks to it like a broker that wants TLS.
			kgo.AlwaysRetryEOF(),
			kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
			kgo.MetadataMinAge(20*time.Millisecond),
		)
		if err != nil {
			return err
		}
		defer client.Close()
		producers.Add(1)
		go func() {
			defer producers.Done()
			write(ctx, client, name, partitions, keys, pause, ended, out, stop)
			if err := client.Flush(ctx); err != nil {
				stop(err)
			}
		}()
	}
	producers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return out.to.Flush()
}

// write numbers records by partition, from 0, and prints each that was acknowledged. The keys take turns. It pauses
// behind each number.
func write(
	ctx context.Context, client *kgo.Client, name string, partitions int32, keys int64, pause time.Duration,
	ended <-chan struct{}, out *lines, stop context.CancelCauseFunc,
) {
	noise := make([]byte, 64<<10)
	rand.New(rand.NewSource(1)).Read(noise)
	for number := int64(0); ; number++ {
		if pause > 0 {
			time.Sleep(pause)
		}
		for partition := int32(0); partition < partitions; partition++ {
			select {
			case <-ended:
				return
			case <-ctx.Done():
				return
			default:
			}
			at := int(number*31) % (len(noise) - loadValueBytes)
			value := append(strconv.AppendInt(nil, number, 10), ' ')
			value = append(value, noise[at:at+loadValueBytes-len(value)]...)
			record := &kgo.Record{Partition: partition, Key: fmt.Appendf(nil, "%s/%d", name, number%keys), Value: value}
			client.Produce(ctx, record, func(r *kgo.Record, err error) {
				if err != nil {
					stop(err)
					return
				}
				out.print(r)
			})
		}
	}
}

// loaded prints the first COUNT records of a topic as load printed them.
func loaded(ctx context.Context, bootstrap, topic, countText string) error {
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
	out := &lines{to: bufio.NewWriter(os.Stdout)}
	for count > 0 {
		fetches := client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			return failure.Err
		}
		for _, r := range fetches.Records() {
			out.print(r)
			count--
		}
	}
	return out.to.Flush()
}

// lines prints records from many goroutines: key, partition, offset, number.
type lines struct {
	mutex sync.Mutex
	to    *bufio.Writer
}

func (l *lines) print(r *kgo.Record) {
	number, _, _ := bytes.Cut(r.Value, []byte(" "))
	l.mutex.Lock()
	defer l.mutex.Unlock()
	fmt.Fprintf(l.to, "%s %d %d %s\n", r.Key, r.Partition, r.Offset, number)
}
