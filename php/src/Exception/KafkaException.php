<?php

declare(strict_types=1);

namespace Ottla\Exception;

/** A broker refused, by a code of Kafka's. */
class KafkaException extends OttlaException
{
}
